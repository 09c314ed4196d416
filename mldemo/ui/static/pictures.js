// Grey pictures on a canvas, one canvas pixel per byte; the browser scales them.
const BLACK = 0xff000000;
const greys = Uint32Array.from({ length: 256 }, (_, v) => BLACK | (v * 0x010101));

export class Pictures { // in a square, as many columns as rows
  #image = null; #rgba = null;
  // pick(player) -> {grey: bytes, n, count, key}; the same key means the same pixels
  constructor(canvas, pick) {
    this.canvas = canvas;
    this.pick = pick;
    this.pen = canvas.getContext("2d", { alpha: false });
  }
  draw(player, resized) {
    const found = this.pick(player);
    if (!found) return;
    const { grey, n, count, key } = found, columns = Math.ceil(Math.sqrt(count)), { canvas } = this;
    const side = columns * n;
    if (canvas.width !== side || canvas.height !== side || !this.#image) {
      canvas.width = canvas.height = side;
      canvas.parentElement.style.setProperty("--md-columns", columns);
      this.#image = this.pen.createImageData(side, side);
      this.#rgba = new Uint32Array(this.#image.data.buffer).fill(BLACK);
      this.key = undefined;
      resized = true;
    }
    if (resized) canvas.classList.toggle("md-many", side > canvas.clientWidth * devicePixelRatio);
    if (key !== undefined && key === this.key) return;
    this.key = key;
    for (let i = 0, from = 0; i < count; i++) {
      let to = Math.floor(i / columns) * n * side + (i % columns) * n;
      for (let row = 0; row < n; row++, to += side)
        for (let j = 0; j < n; j++) this.#rgba[to + j] = greys[grey[from++]];
    }
    this.pen.putImageData(this.#image, 0, 0);
  }
}
