// Writes an animated WebP: the browser encodes the pictures; here they are put into one file.
// Source: the WebP container specification, Google, "Extended File Format".
const LIMIT = 1 << 24; // lengths and times have three bytes

const little = (value, bytes) => Array.from({ length: bytes }, (_, i) => (value >> (8 * i)) & 255);
const tag = (name) => [...name].map((c) => c.charCodeAt(0));

function chunk(name, parts) { // four letters, the length, the parts, and a byte if it is odd
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  return [Uint8Array.from([...tag(name), ...little(size, 4)]), ...parts,
    ...(size % 2 ? [new Uint8Array(1)] : [])];
}
function pictureOf(file) { // the chunks with the pixels, unchanged, and width and height
  const view = new DataView(file.buffer), parts = [];
  let size = null;
  for (let at = 12; at + 8 <= file.length;) {
    const name = String.fromCharCode(...file.subarray(at, at + 4));
    const length = view.getUint32(at + 4, true), body = at + 8;
    if (name === "VP8L") {
      const bits = view.getUint32(body + 1, true);
      size = [(bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1];
    } else if (name === "VP8 ")
      size = [view.getUint16(body + 6, true) & 0x3fff, view.getUint16(body + 8, true) & 0x3fff];
    at = body + length + (length % 2);
    if (["ALPH", "VP8 ", "VP8L"].includes(name)) parts.push(file.subarray(body - 8, at));
  }
  return { parts, size };
}

export async function take(sheet) {
  const blob = await new Promise((done) => sheet.toBlob(done, "image/webp", 1)); // 1: exact
  if (blob?.type !== "image/webp")
    throw Error("This browser cannot write WebP: save a GIF instead.");
  return blob;
}
// delay, last: milliseconds for each picture, and for the last one
export async function animation(pictures, delay, last) {
  const files = await Promise.all(pictures.map(async (blob) => new Uint8Array(await blob.arrayBuffer())));
  const frames = files.map(pictureOf), [width, height] = frames[0].size;
  const extent = [...little(width - 1, 3), ...little(height - 1, 3)];
  const body = [
    ...chunk("VP8X", [Uint8Array.from([2, 0, 0, 0, ...extent])]), // 2: animated
    ...chunk("ANIM", [new Uint8Array(6)]), // a black background, endless repetition
    ...frames.flatMap(({ parts }, i) => {
      const time = Math.min(LIMIT - 1, Math.round(i === frames.length - 1 ? last : delay));
      const place = Uint8Array.from([...new Uint8Array(6), ...extent, ...little(time, 3), 2]);
      return chunk("ANMF", [place, ...parts]); // 2: replaces the picture before, no blending
    }),
  ];
  return new Blob(chunk("RIFF", [Uint8Array.from(tag("WEBP")), ...body]), { type: "image/webp" });
}
