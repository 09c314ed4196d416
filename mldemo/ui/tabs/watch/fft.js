// The discrete Fourier transform of small fields, for filters that are even in the frequency.
const tables = new Map();

function table(n) { // bit reversal and roots of unity for a power of two
  if (tables.has(n)) return tables.get(n);
  const bits = Math.log2(n), order = new Uint16Array(n);
  if (!Number.isInteger(bits)) throw Error(`the grid must have a power of two points, not ${n}`);
  for (let i = 0; i < n; i++)
    for (let b = 0, r = i; b < bits; b++, r >>= 1) order[i] = (order[i] << 1) | (r & 1);
  const cos = Float64Array.from({ length: n / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / n));
  const sin = Float64Array.from({ length: n / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / n));
  const made = { order, cos, sin };
  tables.set(n, made);
  return made;
}

function line(re, im, at, stride, n, sign) { // one Cooley-Tukey transform, in place
  const { order, cos, sin } = table(n);
  for (let i = 0; i < n; i++) {
    const j = order[i];
    if (j > i) {
      const a = at + i * stride, b = at + j * stride;
      let t = re[a]; re[a] = re[b]; re[b] = t;
      t = im[a]; im[a] = im[b]; im[b] = t;
    }
  }
  for (let half = 1; half < n; half *= 2)
    for (let k = 0, step = n / (2 * half); k < half; k++) {
      const c = cos[k * step], s = sign * sin[k * step];
      for (let i = k; i < n; i += 2 * half) {
        const a = at + i * stride, b = a + half * stride;
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x; im[b] = im[a] - y;
        re[a] += x; im[a] += y;
      }
    }
}
function transform(re, im, n, sign = 1) { // sign -1: the inverse, times n²
  for (let i = 0; i < n; i++) line(re, im, i * n, 1, n, sign);
  for (let i = 0; i < n; i++) line(re, im, i, n, n, sign);
}

// The fields of `grey` (count n² bytes) with each frequency multiplied by gain(|k|), as bytes.
// Two real fields are the real and imaginary part of one transform: the filter is real and even.
export function filtered(grey, n, gain) {
  const size = n * n, count = grey.length / size, out = new Uint8ClampedArray(grey.length);
  const re = new Float64Array(size), im = new Float64Array(size), gains = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const row = Math.floor(i / n), column = i % n;
    gains[i] = gain(Math.hypot(row < n / 2 ? row : row - n, column < n / 2 ? column : column - n))
      / size;
  }
  for (let first = 0; first < count; first += 2) {
    const pair = first + 1 < count, at = first * size;
    for (let i = 0; i < size; i++) {
      re[i] = grey[at + i] / 127.5 - 1;
      im[i] = pair ? grey[at + size + i] / 127.5 - 1 : 0;
    }
    transform(re, im, n);
    for (let i = 0; i < size; i++) { re[i] *= gains[i]; im[i] *= gains[i]; }
    transform(re, im, n, -1);
    for (let i = 0; i < size; i++) {
      out[at + i] = (re[i] + 1) * 127.5;
      if (pair) out[at + size + i] = (im[i] + 1) * 127.5;
    }
  }
  return out;
}
