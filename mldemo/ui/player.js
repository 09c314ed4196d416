// The player. Gradio runs this once with `element`, `props` and `watch`; it keeps every frame, so
// that pausing, scrubbing and replaying ask the server nothing.
const $ = (name) => element.querySelector(".md-" + name);
const player = $("player"), range = $("range"), HOLD = 1800, SAY_EVERY = 1500;
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const ink = {};
let run = null; // {id, head, frames, prior, data, arrived: [first, last, how many], state}
let current = 0, playing = false, follow = true, pending = 0, clock = 0, said = 0, sayTimer = 0;

// ---------------------------------------------------------------- bytes
function bytes(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}
const floats = (text) => new Float32Array(bytes(text).buffer);

function newRun(id, head, state) {
  run = { id, head, frames: [], state, arrived: [0, 0, 0] };
  run.prior = floats(head.priorPower);
  run.data = floats(head.dataPower);
  run.axes = axes(run);
  current = 0; follow = true; playing = false;
  range.max = String(head.steps);
  player.dataset.run = id;
  labels();
}

function receive(value) {
  if (!value || typeof value !== "object" || typeof value.x !== "string") return;
  const now = performance.now();
  if (!run || run.id !== value.run) newRun(value.run, value.head, "running");
  if (run.frames[value.step]) return; // gradio sends the last value twice
  run.frames[value.step] = {
    ...value, x: bytes(value.x), x0: bytes(value.x0), power: floats(value.power), head: null,
  };
  const a = run.arrived;
  if (!a[2]) a[0] = now;
  a[1] = now; a[2] += 1;
  if (value.step === run.head.steps) {
    run.state = "finished";
    labels();
    say(true);
  }
  if (follow) current = value.step;
  redraw();
}

function readRecording(buffer) {
  const view = new DataView(buffer), all = new Uint8Array(buffer);
  if (new TextDecoder().decode(all.subarray(0, 8)) !== "MLDEMO1\n") throw Error("no recording");
  const length = view.getUint32(8, true), shells = (n) => new Float32Array(buffer, n[0], n[1]);
  const header = JSON.parse(new TextDecoder().decode(all.subarray(12, 12 + length)));
  const { head, frames } = header, size = head.count * head.resolution ** 2, n = frames.length;
  const spectra = 12 + length, x = spectra + 4 * n * header.shells, x0 = x + n * size;
  if (buffer.byteLength !== x0 + n * size) throw Error("recording cut short");
  newRun("prerecorded", head, "finished");
  run.frames = frames.map((f, i) => ({
    ...f,
    x: all.subarray(x + i * size, x + (i + 1) * size),
    x0: all.subarray(x0 + i * size, x0 + (i + 1) * size),
    power: shells([spectra + 4 * i * header.shells, header.shells]),
  }));
}

// ---------------------------------------------------------------- words
const put = (name, text) => { const e = $(name); if (e.textContent !== text) e.textContent = text; };
const signed = (v) => (v < 0 ? "−" : "+") + Math.abs(v).toFixed(2);
function deviceName(device) {
  return device === "cpu" ? "CPU" : "GPU (" + device + ")";
}
function labels() {
  const h = run.head, live = h.mode === "live";
  player.dataset.mode = h.mode;
  player.dataset.state = run.state;
  put("mode", live ? "live on " + deviceName(h.device) : "prerecorded");
  put("score", h.scoreLabel);
  put("what", [h.prior + " prior", h.resolution + "²", h.steps + " steps", h.sampler,
    "seed " + h.seed].join(" · ") + (run.state === "stopped" ? " · stopped" : ""));
  put("device", deviceName(h.device) + (live ? "" : ", when recorded"));
  put("checkpoint", h.checkpoint === null ? "none (exact)"
    : h.checkpoint + ", trained at " + h.levels.join(" → ") + (h.levels.length < 2 ? " only" : ""));
  put("command", h.command);
}
function describe(frame) {
  const snr = frame.sigma > 0 ? signed(Math.log(frame.alpha / frame.sigma)) : "+∞";
  return { snr, step: frame.step + " of " + run.head.steps, time: frame.time.toFixed(3) };
}
function say(now) { // for screen readers: what is shown, at most every 1.5 s
  clearTimeout(sayTimer);
  const wait = Math.max(now ? 0 : 250, said + SAY_EVERY - performance.now());
  sayTimer = setTimeout(() => {
    const frame = nearest(current);
    if (!frame) return;
    const d = describe(frame);
    said = performance.now();
    put("say", "Step " + d.step + ", log signal to noise " + d.snr);
  }, wait);
}

// ---------------------------------------------------------------- drawing
function nearest(i) {
  while (i > 0 && !run.frames[i]) i -= 1;
  return run.frames[i];
}
function colours() {
  const style = getComputedStyle(player);
  for (const name of ["x", "prior", "data", "ink", "grid", "gap"])
    ink[name] = style.getPropertyValue("--md-" + name).trim();
  ink.font = style.fontFamily;
}
function fit(canvas) { // one canvas pixel per pixel of the screen
  const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  const w = Math.round(box.width * ratio), h = Math.round(box.height * ratio);
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  return [w, h, ratio];
}
const strip = document.createElement("canvas"), pen = strip.getContext("2d");
function montage(canvas, grey) {
  const [w, h, ratio] = fit(canvas), n = run.head.resolution, count = run.head.count;
  if (!w || !h) return;
  if (strip.width !== n || strip.height !== n * count) {
    strip.width = n; strip.height = n * count;
  }
  const image = pen.createImageData(n, n * count), rgba = new Uint32Array(image.data.buffer);
  for (let i = 0; i < grey.length; i++) rgba[i] = 0xff000000 | (grey[i] * 0x010101);
  pen.putImageData(image, 0, 0);
  const c = canvas.getContext("2d"), columns = Math.ceil(Math.sqrt(count));
  const gap = columns > 1 ? Math.max(1, Math.round(2 * ratio)) : 0;
  const edge = (j) => Math.round(((Math.min(w, h) + gap) * j) / columns);
  c.fillStyle = ink.gap;
  c.fillRect(0, 0, w, h);
  for (let i = 0; i < count; i++) {
    const [x, y] = [edge(i % columns), edge(Math.floor(i / columns))];
    const size = [edge((i % columns) + 1) - x - gap, edge(Math.floor(i / columns) + 1) - y - gap];
    c.imageSmoothingEnabled = size[0] < n; // pixels stay pixels unless there are too many
    c.imageSmoothingQuality = "high";
    c.drawImage(strip, 0, i * n, n, n, x, y, size[0], size[1]);
  }
}

function axes(r) { // from the two curves that stay, so that the axes stand still
  const last = Math.min(r.prior.length, r.data.length) - 1, seen = [];
  for (const curve of [r.prior, r.data])
    for (let k = 1; k <= last; k++) if (curve[k] > 0) seen.push(Math.log10(curve[k]));
  const top = Math.ceil(Math.max(...seen, -8) + 0.3);
  return { last: Math.max(last, 2), top, low: Math.max(top - 9, Math.floor(Math.min(...seen) - 0.2)) };
}
const raised = (v) => "10" + String(v).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
function spectrum(canvas, frame) {
  const [w, h, ratio] = fit(canvas);
  if (!w || !h) return;
  const c = canvas.getContext("2d"), { last, top, low } = run.axes;
  const size = Math.max(11, Math.min(17, w / ratio / 26)) * ratio;
  const box = { l: 3.4 * size, r: w - 0.8 * size, t: 0.7 * size, b: h - 3.1 * size };
  const X = (k) => box.l + ((box.r - box.l) * Math.log(k)) / Math.log(last);
  const Y = (v) => box.b - ((box.b - box.t) * (Math.log10(v) - low)) / (top - low);
  c.clearRect(0, 0, w, h);
  c.font = size + "px " + ink.font;
  c.fillStyle = ink.ink; c.strokeStyle = ink.grid; c.lineWidth = ratio; c.setLineDash([]);
  c.textAlign = "right"; c.textBaseline = "middle";
  const every = top - low > 6 ? 2 : 1;
  for (let d = low; d <= top; d += every) {
    line(c, [[box.l, Y(10 ** d)], [box.r, Y(10 ** d)]]);
    c.fillText(raised(d), box.l - 0.4 * size, Y(10 ** d));
  }
  c.textAlign = "center"; c.textBaseline = "top";
  for (let k = 1; k <= last; k *= 2) {
    line(c, [[X(k), box.t], [X(k), box.b]]);
    c.fillText(String(k), X(k), box.b + 0.4 * size);
  }
  c.fillText("frequency |k|", (box.l + box.r) / 2, box.b + 1.7 * size);
  c.save();
  c.beginPath(); c.rect(box.l, box.t, box.r - box.l, box.b - box.t); c.clip();
  const curves = [["data", run.data, [2, 4], "data"], ["prior", run.prior, [9, 5], "prior"],
    ["x", frame.power, [], "x at time t"]];
  for (const [name, values, dash] of curves) {
    pencil(c, name, dash, ratio);
    let points = [];
    for (let k = 1; k <= last; k++) {
      if (values[k] > 0) points.push([X(k), Y(values[k])]);
      if (!(values[k] > 0) || k === last) { line(c, points); points = []; }
    }
  }
  c.restore();
  c.textAlign = "left"; c.textBaseline = "middle";
  const left = box.r - 8.4 * size;
  curves.reverse().forEach(([name, , dash, word], i) => {
    const y = box.t + (0.9 + 1.35 * i) * size;
    pencil(c, name, dash, ratio);
    line(c, [[left, y], [left + 2.2 * size, y]]);
    c.fillText(word, left + 2.6 * size, y);
  });
}
function pencil(c, name, dash, ratio) {
  c.strokeStyle = ink[name]; c.lineWidth = (name === "x" ? 3 : 2.2) * ratio; c.lineJoin = "round";
  c.setLineDash(dash.map((d) => d * ratio));
}
function line(c, points) {
  if (!points.length) return;
  c.beginPath();
  points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
  c.stroke();
}

function redraw() { pending = pending || requestAnimationFrame(draw); }
function draw(now) {
  pending = 0;
  if (!run || !run.frames.length) return;
  if (playing) advance(now);
  const frame = nearest(current);
  if (!frame) return;
  if (!ink.x) colours();
  montage($("x"), frame.x);
  montage($("x0"), frame.x0);
  spectrum($("s"), frame);
  const d = describe(frame);
  range.value = String(current);
  range.setAttribute("aria-valuetext", "step " + d.step + ", log signal to noise " + d.snr);
  put("step", d.step); put("time", d.time); put("snr", d.snr);
  speeds(frame);
  player.dataset.step = String(frame.step);
  player.dataset.frames = String(run.frames.filter(Boolean).length);
  player.classList.toggle("md-playing", playing);
  $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  if (playing) redraw();
}
function speeds(frame) {
  const [first, last, count] = run.arrived;
  const all = run.frames.filter((f) => f && f.step < run.head.steps).map((f) => f.ms);
  const ms = all.sort((a, b) => a - b)[all.length >> 1] ?? frame.ms; // the median
  put("ms", ms.toFixed(ms < 10 ? 1 : 0) + " ms");
  put("fps", count > 1 ? ((count - 1) * 1000 / (last - first)).toFixed(0)
    : playing ? String(+$("speed").value) : "–");
}

// ---------------------------------------------------------------- playing
const latest = () => Math.max(0, run.frames.length - 1);
function advance(now) {
  const end = latest(), pause = current === end ? HOLD : 1000 / +$("speed").value;
  if (now - clock < pause) return;
  clock = now - clock > 2 * pause ? now : clock + pause;
  if (current < end) current += 1;
  else if ($("loop").checked) current = 0;
  else playing = false;
}
function play(on) {
  if (!run || !run.frames.length) return;
  if (on && current === latest()) current = 0;
  playing = on; follow = false; clock = performance.now();
  if (!on) say();
  redraw();
}
function go(step) {
  if (!run || !run.frames.length) return;
  current = Math.max(0, Math.min(latest(), step));
  playing = false;
  follow = run.state === "running" && current === latest();
  say();
  redraw();
}
const keys = {
  " ": () => play(!playing), ArrowLeft: () => go(current - 1), ArrowRight: () => go(current + 1),
  Home: () => go(0), End: () => go(latest()),
};
player.addEventListener("keydown", (event) => {
  const tag = event.target.tagName, action = keys[event.key];
  if (!action || event.ctrlKey || event.altKey || event.metaKey || tag === "SELECT") return;
  const press = event.key === " " && (tag === "BUTTON" || event.target.type === "checkbox");
  const slide = event.key !== " " && event.target === range;
  if (press || slide) return; // what the control does by itself is right
  event.preventDefault();
  action();
});
range.addEventListener("input", () => go(+range.value));
$("first").addEventListener("click", keys.Home);
$("back").addEventListener("click", keys.ArrowLeft);
$("next").addEventListener("click", keys.ArrowRight);
$("play").addEventListener("click", keys[" "]);
$("speed").addEventListener("change", () => { clock = performance.now(); redraw(); });
for (const name of ["x", "x0", "s"])
  $(name).addEventListener("click", () => { player.focus({ preventScroll: true }); });

$("copy").addEventListener("click", async () => {
  if (!run) return;
  $("command").hidden = false;
  let word = "Copied";
  try {
    await navigator.clipboard.writeText(run.head.command);
  } catch { // not allowed here: the text is shown and marked instead
    getSelection().selectAllChildren($("command"));
    word = "Press Ctrl+C";
  }
  put("copy", word);
  setTimeout(() => put("copy", "Copy as command"), 2500);
});

// ---------------------------------------------------------------- the rest of the page
document.addEventListener("click", (event) => {
  if (event.target.closest("#start")) {
    put("mode", "starting …");
    player.dataset.state = "waiting";
  } else if (event.target.closest("#stop") && run) {
    if (run.state === "running") run.state = "stopped";
    labels();
  }
});
document.addEventListener("mldemo-failed", () => {
  if (!run) return put("mode", "nothing to show yet");
  if (run.state === "running") run.state = "stopped";
  labels();
});
const repaint = () => { colours(); redraw(); };
new MutationObserver(repaint).observe(document.body, { attributeFilter: ["class"] });
const sizes = new ResizeObserver(redraw);
for (const name of ["x", "x0", "s"]) sizes.observe($(name));

watch("value", () => receive(props.value));
async function opening() {
  try {
    const answer = await fetch(props.recording);
    if (!answer.ok) throw Error(answer.statusText);
    const buffer = await answer.arrayBuffer();
    if (run || player.dataset.state === "waiting") return;
    readRecording(buffer);
    current = latest();
    if (still.matches) redraw();
    else play(true);
  } catch (error) {
    if (!run) put("what", "There is no recording here. Press Start to compute one live.");
    if (!run) put("mode", "nothing recorded");
  }
}
if (props.recording) opening();
else {
  put("mode", "nothing recorded");
  put("what", "There is no recording here. Press Start to compute one live.");
}
