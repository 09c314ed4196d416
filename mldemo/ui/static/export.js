// What is on the screen as a file: PNG, or all steps as an animated GIF or WebP. No server is asked.
const WIDE = 1600, FRAMES = 120; // pixels and pictures of an animation, at most
const LAST = 2000; // milliseconds for which an animation shows its end

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
  const { take, animation } = await import(`./${kind}.js`);
  const { current, playing, follow } = player, every = Math.ceil((player.latest + 1) / FRAMES);
  player.playing = false;
  const pictures = [];
  try {
    for (let i = 0; i <= player.latest; i += every) {
      player.current = i;
      player.redraw();
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      pictures.push(await take(compose(player, Math.min(WIDE / 2, player.root.clientWidth))));
    }
  } finally {
    Object.assign(player, { current, playing, follow });
    player.redraw();
  }
  return download(await animation(pictures, 1000 / player.speed, LAST), `mldemo-${name}.${kind}`);
}
