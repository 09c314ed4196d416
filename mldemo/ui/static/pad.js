// A sheet to draw on: a grey picture, and a region marked on it. Both fit into a link.
import { sheet } from "./dom.js";

export const SHEET = 256, CELLS = 32, LONGEST = 1600;
const SMALL = [64, 48, 32], QUALITY = [0.95, 0.85, 0.7, 0.5, 0.3], HEAVIEST = 20e6;

const toText = (bytes) => btoa(String.fromCharCode(...bytes))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const fromText = (words) => Uint8Array.from(
  atob(words.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

export async function pack(canvas) { // a picture as text: WebP where the browser can write it
  for (const side of SMALL) {
    const small = sheet(side), c = small.getContext("2d");
    c.imageSmoothingQuality = "high";
    c.drawImage(canvas, 0, 0, side, side);
    for (const quality of QUALITY) {
      const blob = await new Promise((done) => small.toBlob(done, "image/webp", quality));
      const words = toText(new Uint8Array(await blob.arrayBuffer()));
      if (words.length <= LONGEST) return words;
      if (blob.type !== "image/webp") break;
    }
  }
  throw Error("this picture holds too much detail for a link");
}
async function paint(canvas, blob) { // the centre square, on white paper
  const image = await createImageBitmap(blob), side = Math.min(image.width, image.height);
  const c = canvas.getContext("2d");
  c.fillStyle = "#fff";
  c.fillRect(0, 0, SHEET, SHEET);
  c.imageSmoothingQuality = "high";
  c.drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side,
    0, 0, SHEET, SHEET);
  image.close();
  grey(canvas);
}
function grey(canvas) { // to luma, ITU-R BT.601, as the server does: the sheet shows what is used
  const c = canvas.getContext("2d"), image = c.getImageData(0, 0, SHEET, SHEET), { data } = image;
  for (let i = 0; i < data.length; i += 4)
    data.fill(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2], i, i + 3);
  c.putImageData(image, 0, 0);
}
export function onLight(canvas) { // whether the edge of the sheet, i.e. its background, is light
  const { data } = canvas.getContext("2d").getImageData(0, 0, SHEET, SHEET);
  let light = 0, edge = 0;
  for (let y = 0; y < SHEET; y++)
    for (let x = 0; x < SHEET; x++) {
      if (Math.min(x, y, SHEET - 1 - x, SHEET - 1 - y) >= SHEET / 32) continue;
      edge += 1;
      light += data[4 * (y * SHEET + x)] > 127;
    }
  return light > edge / 2;
}
export const unpack = (canvas, words) => paint(canvas, new Blob([fromText(words)]));
export async function open(canvas, file) {
  if (file.size > HEAVIEST) throw Error(`${file.name} has more than ${HEAVIEST / 1e6} MB`);
  try {
    await paint(canvas, file);
  } catch {
    throw Error(`${file.name} is no picture that this browser can read`);
  }
}
export function clear(canvas, ink = "#000") {
  const c = canvas.getContext("2d");
  c.fillStyle = ink;
  c.fillRect(0, 0, SHEET, SHEET);
}
export function invert(canvas) {
  const c = canvas.getContext("2d"), image = c.getImageData(0, 0, SHEET, SHEET);
  for (let i = 0; i < image.data.length; i++) if (i % 4 !== 3) image.data[i] = 255 - image.data[i];
  c.putImageData(image, 0, 0);
}
export function line(canvas, [x, y], [u, v], ink, width) {
  const c = canvas.getContext("2d");
  Object.assign(c, { strokeStyle: ink, lineWidth: width, lineCap: "round", lineJoin: "round" });
  c.beginPath();
  c.moveTo(x, y);
  c.lineTo(u, v + (x === u && y === v ? 0.01 : 0)); // a touch is a dot
  c.stroke();
}

// A pen on a canvas: calls stroke(from, to) for every segment, in pixels of the sheet; down() before
// the first segment and lifted() after the last.
export function pen(pad, { down, stroke, lifted }) {
  let before = null;
  const where = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) * SHEET) / box.width, ((event.clientY - box.top) * SHEET) / box.height];
  };
  const to = (place) => {
    stroke(before ?? place, place);
    before = place;
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return; // neither a second finger nor the palm
    down?.();
    pad.setPointerCapture(event.pointerId);
    to(where(event));
  });
  pad.addEventListener("pointermove", (event) => {
    if (!before || !event.isPrimary) return;
    for (const e of event.getCoalescedEvents?.() ?? [event]) to(where(e));
  });
  const lift = (event) => { if (before && event.isPrimary) { before = null; lifted(); } };
  pad.addEventListener("pointerup", lift);
  pad.addEventListener("pointercancel", lift);
}
export function greyscale(values, n) { // n x n grey values as a picture
  const made = sheet(n), c = made.getContext("2d"), image = c.createImageData(n, n);
  for (const [i, v] of values.entries()) image.data.set([v, v, v, 255], 4 * i);
  c.putImageData(image, 0, 0);
  return made;
}
export class Region { // 32 x 32 cells, row by row
  cells = new Uint8Array(CELLS * CELLS);
  get empty() { return !this.cells.some(Boolean); }
  get text() {
    const bytes = new Uint8Array(this.cells.length / 8);
    this.cells.forEach((on, i) => { if (on) bytes[i >> 3] |= 128 >> (i & 7); });
    return this.empty ? "" : toText(bytes);
  }
  set text(words) {
    if (!/^[A-Za-z0-9_-]{171}$/.test(words)) return;
    const bytes = fromText(words);
    this.cells = this.cells.map((_, i) => (bytes[i >> 3] >> (7 - (i & 7))) & 1);
  }
  fill(inside) {
    this.cells = this.cells.map((_, i) => Number(inside(i % CELLS, Math.floor(i / CELLS))));
  }
  mark([x, y], on, radius = 2.2) { // a round brush, in cells
    const [a, b] = [(x * CELLS) / SHEET, (y * CELLS) / SHEET];
    this.cells.forEach((_, i) => {
      const far = Math.hypot((i % CELLS) + 0.5 - a, Math.floor(i / CELLS) + 0.5 - b);
      if (far <= radius) this.cells[i] = Number(on);
    });
  }
}
export const REGIONS = {
  none: () => false,
  right: (column) => column >= CELLS / 2,
  lower: (_, row) => row >= CELLS / 2,
  centre: (column, row) => [column, row].every((v) => Math.abs(v - 15.5) < 6),
};
