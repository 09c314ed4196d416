// An animated GIF89a: 128 greys, and a cube of 5 x 5 x 5 colours for the curves.
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
export const take = (sheet) => sheet.getContext("2d").getImageData(0, 0, sheet.width, sheet.height);
export function animation(pictures, delay, last) { // each is shown for so many milliseconds
  const parts = [], { width, height } = pictures[0];
  const write = (bytes) => parts.push(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes));
  const short = (v) => [v & 255, v >> 8];
  write([...new TextEncoder().encode("GIF89a"), ...short(width), ...short(height), 0xf7, 0, 0]);
  write(palette());
  write([0x21, 0xff, 11, ...new TextEncoder().encode("NETSCAPE2.0"), 3, 1, 0, 0, 0]);
  pictures.forEach((picture, i) => {
    const time = Math.max(2, Math.round((i === pictures.length - 1 ? last : delay) / 10));
    write([0x21, 0xf9, 4, 0, ...short(time), 0, 0]);
    write([0x2c, 0, 0, 0, 0, ...short(width), ...short(height), 0, 8]);
    lzw(indices(picture), write);
    write([0]);
  });
  write([0x3b]);
  return new Blob(parts, { type: "image/gif" });
}
