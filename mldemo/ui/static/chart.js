// A chart whose axes and fixed curves are drawn once; moving curves are drawn over them.
export const INKS = ["one", "two", "three", "four", "five"], DASHES = [[], [9, 5], [2, 4], [12, 4, 2, 4], [4, 3]];
export const raised = (v) =>
  "10" + String(v).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);

function fit(canvas) { // one canvas pixel per pixel of the screen
  const ratio = window.devicePixelRatio || 1;
  const w = Math.round(canvas.clientWidth * ratio), h = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  return [w, h, ratio];
}
function stroke(c, points) {
  if (points.length < 2) return;
  c.beginPath();
  for (const [x, y] of points) c.lineTo(x, y); // the first call only sets the starting point
  c.stroke();
}

export class Chart {
  // layout(player) -> {x: [lo, hi], y: [lo, hi], logX, logY, label, labelY?, ticksX?, curves: [...]} or null
  // a curve: {points: [[x, y], …], ink, dash, name, width?}; moving(player) -> further curves
  constructor(canvas, { layout, moving, under, over }) {
    Object.assign(this, { canvas, layout, moving, under, over });
    this.still = document.createElement("canvas");
    this.pen = canvas.getContext("2d");
  }
  begin() { this.plan = null; }
  draw(player, resized) {
    if (!this.plan || resized) {
      this.plan = this.layout(player);
      if (!this.plan) return;
      this.canvas.dataset.axes = [this.plan.label, this.plan.labelY].filter(Boolean).join("; ");
      const [w, h, ratio] = fit(this.canvas);
      if (!w || !h) { this.plan = null; return; }
      this.#standing(player, w, h, ratio);
    }
    const c = this.pen, { box } = this;
    c.globalCompositeOperation = "copy";
    c.drawImage(this.still, 0, 0);
    c.globalCompositeOperation = "source-over";
    if (this.moving) {
      c.save();
      c.beginPath();
      c.rect(box.l, box.t, box.r - box.l, box.b - box.t);
      c.clip();
      for (const curve of this.moving(player) ?? []) this.#curve(c, player, curve);
      c.restore();
    }
    this.over?.(c, this, player);
  }
  X(v) {
    const { x, logX } = this.plan, { l, r } = this.box, f = logX ? Math.log : (u) => u;
    return l + ((r - l) * (f(v) - f(x[0]))) / (f(x[1]) - f(x[0]) || 1);
  }
  Y(v) {
    const { y, logY } = this.plan, { t, b } = this.box, f = logY ? Math.log : (u) => u;
    return b - ((b - t) * (f(v) - f(y[0]))) / (f(y[1]) - f(y[0]) || 1);
  }
  at({ clientX, clientY }) { // the values under the pointer; null while nothing is drawn
    if (!this.plan) return null;
    const rect = this.canvas.getBoundingClientRect(), { box, plan } = this;
    const pixel = (v, from, side) => ((v - from) * this.canvas[side]) / rect[side];
    const value = ([a, b], log, share) => (log ? a * (b / a) ** share : a + share * (b - a));
    const x = (pixel(clientX, rect.left, "width") - box.l) / (box.r - box.l);
    const y = (box.b - pixel(clientY, rect.top, "height")) / (box.b - box.t);
    return { x: value(plan.x, plan.logX, x), y: value(plan.y, plan.logY, y) };
  }
  #standing(player, w, h, ratio) {
    this.still.width = w;
    this.still.height = h;
    const c = this.still.getContext("2d"), { plan } = this, { ink } = player;
    const size = Math.max(11, Math.min(17, w / ratio / 26, h / ratio / 14)) * ratio;
    this.size = size;
    this.ratio = ratio;
    c.font = `${size}px ${ink.font}`;
    const box = { l: (plan.labelY ? 4.2 : 3.4) * size, r: w - 1.1 * size, b: h - 3.1 * size };
    const legend = this.#legend(c, box, [...(this.moving?.(player) ?? []), ...plan.curves]);
    box.t = 0.7 * size + 1.35 * size * legend.rows;
    if (box.b - box.t < 4 * size) { // too low for both: the curves go first
      legend.entries = [];
      box.t = 0.7 * size;
    }
    this.box = box;
    this.under?.(c, this, player);
    c.fillStyle = ink.ink; c.strokeStyle = ink.grid; c.lineWidth = ratio;
    c.textAlign = "right"; c.textBaseline = "middle";
    let last = Infinity;
    for (const [v, word] of plan.ticksY ?? decades(plan.y)) {
      if (Math.abs(last - this.Y(v)) < size) continue; // the labels would overlap
      last = this.Y(v);
      if (!plan.noGrid) stroke(c, [[box.l, this.Y(v)], [box.r, this.Y(v)]]);
      c.fillText(word, box.l - 0.4 * size, this.Y(v));
    }
    c.textAlign = "center"; c.textBaseline = "top";
    for (const [v, word] of plan.ticksX ?? octaves(plan.x)) {
      if (!plan.noGrid) stroke(c, [[this.X(v), box.t], [this.X(v), box.b]]);
      c.fillText(word, this.X(v), box.b + 0.4 * size);
    }
    c.fillText(plan.label, (box.l + box.r) / 2, box.b + 1.7 * size);
    if (plan.labelY) {
      c.save();
      c.translate(0.3 * size, (box.t + box.b) / 2);
      c.rotate(-Math.PI / 2);
      c.fillText(plan.labelY, 0, 0, box.b - box.t + 2 * size);
      c.restore();
    }
    c.save();
    c.beginPath();
    c.rect(box.l, box.t, box.r - box.l, box.b - box.t);
    c.clip();
    for (const curve of plan.curves) this.#curve(c, player, curve);
    c.restore();
    c.textAlign = "left"; c.textBaseline = "middle";
    for (const { curve, x, row } of legend.entries) {
      const y = (0.7 + 1.35 * row) * size;
      this.#curve(c, player, { ...curve, pixels: [[x, y], [x + 2.2 * size, y]] });
      c.fillStyle = ink.ink;
      c.fillText(curve.name, x + 2.6 * size, y);
    }
  }
  #legend(c, { l, r }, curves) { // above the curves, so that it hides none, in as many rows as needed
    const entries = [], { size } = this;
    let x = l, row = 0;
    for (const curve of curves.filter(({ name }) => name)) {
      const wide = 2.6 * size + c.measureText(curve.name).width;
      if (x > l && x + wide > r) { x = l; row += 1; }
      entries.push({ curve, x, row });
      x += wide + 1.2 * size;
    }
    return { entries, rows: entries.length ? row + 1 : 0 };
  }
  #curve(c, player, { points, pixels, ink, dash = [], width = 2.4 }) {
    c.strokeStyle = player.ink[ink];
    c.lineWidth = width * this.ratio;
    c.lineJoin = "round";
    c.setLineDash(dash.map((d) => d * this.ratio));
    if (pixels) stroke(c, pixels);
    else {
      let run = [];
      for (const [x, y] of points) {
        const drawn = Number.isFinite(y) && (y > 0 || !this.plan.logY);
        if (drawn) run.push([this.X(x), this.Y(y)]);
        else { stroke(c, run); run = []; }
      }
      stroke(c, run);
    }
    c.setLineDash([]);
  }
}
export function octaves([low, high]) {
  const out = [];
  for (let k = low; k <= high * 1.001; k *= 2) out.push([k, String(k)]);
  return out;
}
export function decades([low, high]) {
  const [a, b] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)], out = [];
  const every = Math.max(1, Math.ceil((b - a) / 6));
  for (let d = a; d <= b; d += every) out.push([10 ** d, raised(d)]);
  return out;
}
// A range of decades that covers positive curves, at most `most` decades.
export function around(curves, most = 9) {
  let [low, high] = [Infinity, -Infinity];
  for (const curve of curves)
    for (const v of curve)
      if (v > 0) { low = Math.min(low, v); high = Math.max(high, v); }
  if (!(high > 0)) return [1e-8, 1];
  const top = Math.ceil(Math.log10(high) + 0.3);
  return [10 ** Math.max(top - most, Math.floor(Math.log10(low) - 0.2)), 10 ** top];
}
