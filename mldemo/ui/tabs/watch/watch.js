// Watch: two sheets of pictures, the spectrum with a band to brush, the map of SNR.
import { filtered } from "./fft.js";
import { Chart, octaves } from "../../static/chart.js";
import { Pictures } from "../../static/pictures.js";
import { diffusion, ratio } from "../../static/snr.js";
import { lastShell, spectrum } from "../../static/spectrum.js";

export function create({ root, player, spec, view }) {
  const $ = (name) => root.querySelector(".md-" + name);
  const band = readBand(view.get("band"));
  const kept = new WeakMap(); // frame -> filtered pictures, of the present band

  // -------------------------------------------------------------- pictures
  const inside = (k) => k >= band.low - 0.5 && k < band.high + 0.5;
  const gain = (k) => Number(inside(k) === (band.kind === "only"));
  function pick(name) {
    return () => {
      const frame = player.frame(), { resolution: n, count } = player.head;
      if (band.kind === "all") return { grey: frame[name], n, count, key: frame[name] };
      const tag = `${band.kind} ${band.low} ${band.high}`;
      let made = kept.get(frame);
      if (made?.tag !== tag) kept.set(frame, (made = { tag }));
      made[name] ??= filtered(frame.data[name], n, gain);
      return { grey: made[name], n, count, key: made[name] };
    };
  }
  diffusion(player, (k) => band.kind === "all" || gain(k) > 0);
  for (const name of ["x", "x0"]) {
    const choose = pick(name);
    player.add(new Pictures($(name), () => {
      const frame = player.frame();
      frame[name] ??= frame.data[name];
      return choose();
    }));
  }

  // -------------------------------------------------------------- spectrum
  const last = () => lastShell(player);
  const powers = spectrum($("s"), player, (c, chart) => {
    if (band.kind === "all") return;
    const { box } = chart, edge = (k) => Math.max(box.l, Math.min(box.r, chart.X(Math.max(1, k))));
    const [a, b] = [band.low < 1 ? box.l : edge(band.low - 0.5), edge(band.high + 0.5)];
    c.globalAlpha = 0.18;
    c.fillStyle = player.ink.accent;
    if (band.kind === "only") c.fillRect(a, box.t, b - a, box.b - box.t);
    else {
      c.fillRect(box.l, box.t, a - box.l, box.b - box.t);
      c.fillRect(b, box.t, box.r - b, box.b - box.t);
    }
    c.globalAlpha = 1;
  });

  // -------------------------------------------------------------- the map of SNR
  player.add(new Chart($("map"), {
    layout: () => ({
      x: [0, player.steps], y: [1, last()], logY: true, label: "step",
      ticksX: evenly(player.steps), ticksY: octaves([1, last()]), noGrid: true, curves: [],
    }),
    under: (c, chart) => {
      const { box } = chart, head = player.head, { prior, spread } = head.data;
      const colour = diverging(player.ink), wide = (box.r - box.l) / player.steps;
      for (let i = 0; i < player.steps; i++) {
        const x = box.l + i * wide;
        for (let k = 1; k <= last(); k++) {
          const [y, below] = [chart.Y(Math.min(last(), k + 0.5)), chart.Y(Math.max(1, k - 0.5))];
          c.fillStyle = colour(Math.log10(ratio(head.alphas[i], head.sigmas[i], spread[k], prior[k])));
          c.fillRect(Math.floor(x), Math.floor(y), Math.ceil(wide) + 1, Math.ceil(below - y) + 1);
        }
      }
      c.textAlign = "left"; c.textBaseline = "top";
      c.fillStyle = "#fff";
      c.fillText("noise", box.l + 0.4 * chart.size, box.t + 0.4 * chart.size);
      c.textAlign = "right"; c.textBaseline = "bottom";
      c.fillText("signal", box.r - 0.4 * chart.size, box.b - 0.4 * chart.size);
    },
    over: (c, chart) => {
      const x = chart.X(player.frame().step), { box } = chart;
      c.fillStyle = player.ink.ink;
      c.fillRect(Math.min(x, box.r - 1) - chart.ratio, box.t, 2.5 * chart.ratio, box.b - box.t);
    },
  }));

  // -------------------------------------------------------------- the band
  const kind = $("band-kind"), low = $("band-low"), high = $("band-high");
  function shown(write = true) {
    kind.value = band.kind;
    low.value = band.low;
    high.value = band.high;
    const off = band.kind === "all";
    low.disabled = high.disabled = off;
    $("band-note").textContent = off ? ""
      : `The pictures are ${kind.value === "only" ? "of this band alone" : "without this band"}; grey is zero.`;
    if (write) view.set("band", off ? null : `${band.kind}-${band.low}-${band.high}`);
    player.redraw(true);
  }
  kind.addEventListener("change", () => { band.kind = kind.value; shown(); });
  for (const box of [low, high]) {
    box.addEventListener("change", () => shown(false)); // what could not be used goes
    box.addEventListener("input", () => {
      const [a, b] = [Math.round(low.valueAsNumber), Math.round(high.valueAsNumber)];
      if (!(a >= 0 && b >= a && b <= 128)) return; // still being typed
      band.low = a;
      band.high = b;
      if (band.kind === "all") band.kind = "only";
      shown();
    });
  }
  let from = null;
  const canvas = $("s"), shell = (event) => Math.round(Math.max(1, Math.min(last(), powers.at(event.clientX))));
  canvas.addEventListener("pointerdown", (event) => {
    if (!powers.plan) return;
    from = shell(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = shell(event);
    if (to === from && band.kind === "all") return;
    [band.low, band.high] = [Math.min(from, to), Math.max(from, to)];
    if (band.low === 1) band.low = 0; // the mean lies left of a logarithmic axis
    if (band.kind === "all") band.kind = "only";
    shown();
  });
  const drop = () => { from = null; };
  canvas.addEventListener("pointerup", drop);
  canvas.addEventListener("pointercancel", drop);
  canvas.addEventListener("dblclick", () => { band.kind = "all"; shown(); });
  shown(false);

  // -------------------------------------------------------------- words
  function changed(values) {
    const note = $("note"), none = !spec.props.trained[values.prior]?.length;
    note.hidden = !(values.score === "learned" && none);
    note.textContent = note.hidden ? "" : `No checkpoint was trained with the ${values.prior} prior `
      + "yet. Choose one of the exact scores, or another prior.";
  }
  return { changed };
}

function readBand(text) {
  const found = /^(only|without)-(\d{1,3})-(\d{1,3})$/.exec(text ?? "");
  if (!found || Number(found[2]) > Number(found[3])) return { kind: "all", low: 0, high: 3 };
  return { kind: found[1], low: Number(found[2]), high: Number(found[3]) };
}
function evenly(steps) {
  const every = [1, 2, 5, 10, 20, 50].find((e) => steps / e <= 6) ?? 50, out = [];
  for (let i = 0; i <= steps; i += every) out.push([i, String(i)]);
  return out;
}
// log10 of a ratio -> colour: noise, even, signal. Infinite where the prior has no noise.
function diverging(ink, reach = 3) {
  const parse = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const [noise, even, signal] = ["noise", "even", "signal"].map((name) => parse(ink[name]));
  return (value) => {
    const v = Number.isNaN(value) ? 0 : Math.max(-1, Math.min(1, value / reach));
    const end = v < 0 ? noise : signal, share = Math.abs(v) ** 0.7;
    return `rgb(${even.map((e, i) => Math.round(e + (end[i] - e) * share)).join()})`;
  };
}
