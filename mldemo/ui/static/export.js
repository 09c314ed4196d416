// Saves what is on the screen as PNG, or all steps as an animated GIF or WebP, without the server.
// WIDE, pixels: a PNG is at most twice as wide, an animation half. FRAMES: most pictures in one.
const WIDE = 1600, FRAMES = 120;
const MARGIN = 12; // around and between the areas, in pixels of the page
const LAST = 2000; // milliseconds for which an animation shows its end

function compose(player, width) { // all figures of the panels in their places, with captions
  const areas = [...player.root.querySelectorAll(".md-panels")].filter((e) => e.offsetParent);
  if (!areas.length) throw Error("The pictures are taken from the page: stay on this tab until they are saved.");
  const frames = areas.map((area) => area.getBoundingClientRect());
  const tall = frames.reduce((sum, { height }) => sum + height, MARGIN * (frames.length - 1));
  const scale = width / (frames[0].width + 2 * MARGIN), out = document.createElement("canvas");
  const ink = getComputedStyle(player.root), ground = getComputedStyle(document.body);
  const what = ["mldemo", player.$("what")?.textContent, ...(player.steps ? [player.told()] : []),
    ...player.remarks.map((words) => words())].filter(Boolean).join(" · "), foot = 26 * scale, edge = MARGIN * scale;
  out.width = width;
  out.height = Math.round(tall * scale + foot + 2 * edge);
  const c = out.getContext("2d", { willReadFrequently: true });
  c.fillStyle = ground.backgroundColor === "rgba(0, 0, 0, 0)" ? "#fff" : ground.backgroundColor;
  c.fillRect(0, 0, out.width, out.height);
  c.fillStyle = ink.color;
  c.textBaseline = "middle";
  let top = edge;
  for (const [i, area] of areas.entries()) {
    draw(c, area, frames[i], edge, top, scale);
    top += (frames[i].height + MARGIN) * scale;
  }
  c.font = `${13 * scale}px ${ink.fontFamily}`;
  c.fillText(what, edge, out.height - edge - foot / 2, width - 2 * edge);
  return out;
}
function draw(c, area, frame, left, top, scale) { // an area's canvases and captions
  for (const e of area.querySelectorAll("canvas, figcaption")) {
    const box = e.getBoundingClientRect();
    if (!box.width) continue;
    const [x, y] = [left + (box.left - frame.left) * scale, top + (box.top - frame.top) * scale];
    if (e.tagName === "CANVAS") {
      c.imageSmoothingEnabled = getComputedStyle(e).imageRendering !== "pixelated";
      c.drawImage(e, x, y, box.width * scale, box.height * scale);
    } else {
      c.save();
      c.beginPath();
      c.rect(x, y, box.width * scale, box.height * scale);
      c.clip();
      caption(c, e, x, y + (box.height * scale) / 2, scale);
      c.restore();
    }
  }
}

function caption(c, element, x, y, scale) { // its texts one after the other, with smaller indices
  const words = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let left = x; words.nextNode();) {
    const { parentElement, textContent } = words.currentNode, style = getComputedStyle(parentElement);
    const size = parseFloat(style.fontSize) * scale, shift = { SUB: 0.3, SUP: -0.5 }[parentElement.tagName] ?? 0;
    const text = textContent.replace(/\s+/g, " ");
    c.font = `${style.fontWeight} ${size}px ${style.fontFamily}`;
    c.fillText(text, left, y + shift * size);
    left += c.measureText(text).width;
  }
}

export function download(blob, name) {
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
  const { playhead, head } = player, { current, playing } = playhead, pictures = [];
  const every = Math.ceil((player.latest + 1) / FRAMES);
  playhead.playing = false;
  try {
    for (let i = 0; i <= player.latest; i += every) {
      playhead.current = i;
      player.redraw();
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      pictures.push(await take(compose(player, Math.min(WIDE / 2, player.root.clientWidth))));
      if (player.head !== head) throw Error("Another run began; press again once it is finished.");
    }
  } finally {
    if (player.head === head) Object.assign(playhead, { current, playing });
    player.redraw();
  }
  return download(await animation(pictures, 1000 / playhead.speed, LAST), `mldemo-${name}.${kind}`);
}
