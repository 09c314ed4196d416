// What is on the screen as a file: PNG, or an animated GIF of all steps. No server is asked.
const WIDE = 1600, FRAMES = 120; // pixels and pictures of an animation, at most

function compose(player, width) { // every figure of the panels where it stands, with its caption
  const area = player.root.querySelector(".md-panels"), frame = area.getBoundingClientRect();
  const scale = width / frame.width, out = document.createElement("canvas");
  const ink = getComputedStyle(player.root), ground = getComputedStyle(document.body);
  const what = player.$("what")?.textContent ?? "", foot = 26 * scale;
  out.width = width;
  out.height = Math.round(frame.height * scale + foot);
  const c = out.getContext("2d", { willReadFrequently: true });
  c.fillStyle = ground.backgroundColor === "rgba(0, 0, 0, 0)" ? "#fff" : ground.backgroundColor;
  c.fillRect(0, 0, out.width, out.height);
  c.fillStyle = ink.color;
  c.textBaseline = "middle";
  for (const e of area.querySelectorAll("canvas, figcaption")) {
    const box = e.getBoundingClientRect();
    if (!box.width) continue;
    const [x, y] = [(box.left - frame.left) * scale, (box.top - frame.top) * scale];
    if (e.tagName === "CANVAS") {
      c.imageSmoothingEnabled = getComputedStyle(e).imageRendering !== "pixelated";
      c.drawImage(e, x, y, box.width * scale, box.height * scale);
    } else {
      c.font = `${parseFloat(getComputedStyle(e).fontSize) * scale}px ${ink.fontFamily}`;
      c.fillText(e.textContent.replace(/\s+/g, " ").trim(), x, y + (box.height * scale) / 2,
        box.width * scale);
    }
  }
  c.font = `${13 * scale}px ${ink.fontFamily}`;
  c.fillText(`mldemo · ${what}`, 2, out.height - foot / 2, width - 4);
  return out;
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return `${name}, ${Math.ceil(blob.size / 1024)} kB`;
}

export async function save(player, kind, name) {
  if (kind === "png") {
    const sheet = compose(player, Math.min(2 * WIDE, 2 * player.root.clientWidth));
    return download(await new Promise((done) => sheet.toBlob(done, "image/png")), `mldemo-${name}.png`);
  }
  const { current, playing, follow } = player, every = Math.ceil((player.latest + 1) / FRAMES);
  player.playing = false;
  const pictures = [];
  try {
    for (let i = 0; i <= player.latest; i += every) {
      player.current = i;
      player.redraw();
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const sheet = compose(player, Math.min(WIDE / 2, player.root.clientWidth));
      pictures.push(sheet.getContext("2d").getImageData(0, 0, sheet.width, sheet.height));
    }
  } finally {
    Object.assign(player, { current, playing, follow });
    player.redraw();
  }
  const delay = Math.max(2, Math.round(100 / player.speed));
  return download(gif(pictures, delay), `mldemo-${name}.gif`);
}

// ---------------------------------------------------------------- GIF89a
// 128 greys, and a cube of 5 x 5 x 5 colours for the curves; the same for all pictures.
const GREYS = 128, STEPS = 5, LEVEL = 255 / (STEPS - 1);
function palette() {
  const out = new Uint8Array(3 * 256);
  for (let i = 0; i < GREYS; i++) out.fill(Math.round((i * 255) / (GREYS - 1)), 3 * i, 3 * i + 3);
  for (let i = 0; i < STEPS ** 3; i++)
    out.set([i / 25, (i / 5) % 5, i % 5].map((v) => Math.floor(v) * LEVEL), 3 * (GREYS + i));
  return out;
}
function indices({ data }) {
  const out = new Uint8Array(data.length / 4);
  for (let i = 0, j = 0; j < out.length; i += 4, j++) {
    const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
    const grey = Math.abs(r - g) < 10 && Math.abs(g - b) < 10 && Math.abs(r - b) < 10;
    out[j] = grey ? Math.round((g * (GREYS - 1)) / 255)
      : GREYS + 25 * Math.round(r / LEVEL) + 5 * Math.round(g / LEVEL) + Math.round(b / LEVEL);
  }
  return out;
}
function lzw(pixels, write) { // 8-bit codes; the dictionary starts anew when it is full
  const CLEAR = 256, END = 257;
  let size = 9, next = 258, bits = 0, count = 0, block = [];
  const dictionary = new Map();
  const flush = () => { if (block.length) write([block.length, ...block]); block = []; };
  const emit = (code) => {
    bits |= code << count;
    count += size;
    for (; count >= 8; count -= 8, bits >>>= 8) {
      block.push(bits & 255);
      if (block.length === 255) flush();
    }
  };
  emit(CLEAR);
  let prefix = pixels[0];
  for (let i = 1; i < pixels.length; i++) {
    const key = (prefix << 8) | pixels[i], known = dictionary.get(key);
    if (known !== undefined) { prefix = known; continue; }
    emit(prefix);
    if (next === 4096) {
      emit(CLEAR);
      dictionary.clear();
      size = 9; next = 258;
    } else {
      if (next === 1 << size) size += 1;
      dictionary.set(key, next++);
    }
    prefix = pixels[i];
  }
  emit(prefix);
  emit(END);
  if (count) block.push(bits & 255);
  flush();
}
function gif(pictures, delay) {
  const parts = [], { width, height } = pictures[0];
  const write = (bytes) => parts.push(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes));
  const short = (v) => [v & 255, v >> 8];
  write([...new TextEncoder().encode("GIF89a"), ...short(width), ...short(height), 0xf7, 0, 0]);
  write(palette());
  write([0x21, 0xff, 11, ...new TextEncoder().encode("NETSCAPE2.0"), 3, 1, 0, 0, 0]);
  pictures.forEach((picture, i) => {
    const time = i === pictures.length - 1 ? 200 : delay;
    write([0x21, 0xf9, 4, 0, ...short(time), 0, 0]);
    write([0x2c, 0, 0, 0, 0, ...short(width), ...short(height), 0, 8]);
    lzw(indices(picture), write);
    write([0]);
  });
  write([0x3b]);
  return new Blob(parts, { type: "image/gif" });
}
