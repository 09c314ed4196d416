// Writes an animated GIF89a, in 256 colours: greys, and the most frequent others in steps of 8.
const GREYS = 96, COLOURS = 160, LOOKED_AT = 4; // the last: pictures whose colours are counted
const isGrey = (r, g, b) => Math.max(Math.abs(r - g), Math.abs(g - b), Math.abs(b - r)) < 5;
const coarse = (r, g, b) => ((r >> 3) << 10) | ((g >> 3) << 5) | (b >> 3);
const middle = (five) => ((five & 31) << 3) | 4;

function frequent(pictures) { // the colours [r, g, b] of the palette after its greys
  const counts = new Uint32Array(1 << 15), every = Math.ceil(pictures.length / LOOKED_AT);
  for (const { data } of pictures.filter((_, i) => i % every === 0 || i === pictures.length - 1))
    for (let i = 0; i < data.length; i += 4) {
      const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
      if (!isGrey(r, g, b)) counts[coarse(r, g, b)] += 1;
    }
  const used = [...counts.keys()].filter((key) => counts[key]).sort((a, b) => counts[b] - counts[a]);
  return used.slice(0, COLOURS).map((key) => [key >> 10, key >> 5, key].map(middle));
}
function nearest(colours, r, g, b) {
  let best = 0, least = Infinity;
  colours.forEach(([x, y, z], i) => {
    const far = (r - x) ** 2 + (g - y) ** 2 + (b - z) ** 2;
    if (far < least) { least = far; best = i; }
  });
  return best;
}
function palette(pictures) { // the colour table, and the function from a colour to its entry
  const colours = frequent(pictures), known = new Int16Array(1 << 15).fill(-1);
  const table = new Uint8Array(3 * (GREYS + COLOURS));
  for (let i = 0; i < GREYS; i++) table.fill(Math.round((i * 255) / (GREYS - 1)), 3 * i, 3 * i + 3);
  colours.forEach((colour, i) => { table.set(colour, 3 * (GREYS + i)); });
  const entry = (r, g, b) => {
    if (isGrey(r, g, b) || !colours.length) return Math.round((g * (GREYS - 1)) / 255);
    const key = coarse(r, g, b);
    if (known[key] < 0) known[key] = GREYS + nearest(colours, r, g, b);
    return known[key];
  };
  return { table, entry };
}
function indices({ data }, entry) {
  const out = new Uint8Array(data.length / 4);
  for (let i = 0, j = 0; j < out.length; i += 4, j++)
    out[j] = entry(data[i], data[i + 1], data[i + 2]);
  return out;
}
function lzw(pixels, write) { // 8-bit symbols; the dictionary is cleared when it is full
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
export const take = (sheet) => sheet.getContext("2d").getImageData(0, 0, sheet.width, sheet.height);
// delay, last: milliseconds for each picture, and for the last one
export function animation(pictures, delay, last) {
  const parts = [], { width, height } = pictures[0];
  const write = (bytes) => parts.push(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes));
  const short = (v) => [v & 255, v >> 8];
  write([...new TextEncoder().encode("GIF89a"), ...short(width), ...short(height), 0xf7, 0, 0]);
  const { table, entry } = palette(pictures);
  write(table);
  write([0x21, 0xff, 11, ...new TextEncoder().encode("NETSCAPE2.0"), 3, 1, 0, 0, 0]);
  pictures.forEach((picture, i) => {
    const time = Math.max(2, Math.round((i === pictures.length - 1 ? last : delay) / 10));
    write([0x21, 0xf9, 4, 0, ...short(time), 0, 0]);
    write([0x2c, 0, 0, 0, 0, ...short(width), ...short(height), 0, 8]);
    lzw(indices(picture, entry), write);
    write([0]);
  });
  write([0x3b]);
  return new Blob(parts, { type: "image/gif" });
}
