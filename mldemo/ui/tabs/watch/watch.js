// Watch: two sheets of pictures, the spectrum and the map of SNR, a band of frequencies for all.
import { band as bandOf } from "./band.js";
import { filtered } from "./fft.js";
import { Chart, octaves } from "../../static/chart.js";
import { make } from "../../static/dom.js";
import { Pictures } from "../../static/pictures.js";
import { Pin } from "../../static/pin.js";
import { diffusion, ratio } from "../../static/snr.js";
import { lastShell, shells, spectrum } from "../../static/spectrum.js";

export function create({ root, player, spec, view, runner }) {
  const $ = (name) => root.querySelector(".md-" + name);
  const band = bandOf({ root, player, view });
  player.remarks.push(band.words);
  diffusion(player, (k) => band.gain(k) > 0);

  // -------------------------------------------------------------- pictures
  const kept = new WeakMap(); // frame -> pictures of the band that was shown last
  function pick(frame, name, head) {
    const { resolution: n, count } = head, whole = frame.data[name], { key } = band;
    if (!key) return { grey: whole, n, count, key: whole };
    let made = kept.get(frame);
    if (made?.key !== key) kept.set(frame, (made = { key }));
    made[name] ??= filtered(whole, n, band.gain);
    return { grey: made[name], n, count, key: made[name] };
  }
  for (const name of ["x", "x0"])
    player.add(new Pictures($(name), () => pick(player.frame(), name, player.head)));

  const pin = new Pin({ root, player, view, spec }, runner,
    { area: $("watch"), before: $("charts"), pick, changed: () => powers.begin() });

  // -------------------------------------------------------------- spectrum
  const last = () => lastShell(player);
  const beside = () => (pin.frame ? [{
    points: shells(pin.frame.data.power, Math.min(last(), pin.frame.data.power.length - 1)),
    ink: "four", width: 2, dash: [3, 3], name: "pinned xₜ",
  }] : []);
  const powers = spectrum($("s"), player, (c, chart) => {
    const { box } = chart;
    const at = (k) => (k < 1 ? box.l : k === Infinity ? box.r
      : Math.max(box.l, Math.min(box.r, chart.X(k))));
    band.shade(c, at, (a, b) => c.fillRect(a, box.t, b - a, box.b - box.t));
  }, beside);
  band.watch($("s"), (event) => powers.at(event)?.x, last);

  // -------------------------------------------------------------- the map of SNR
  const map = player.add(new Chart($("map"), {
    layout: () => ({
      x: [0, player.steps], y: [1, last()], logY: true, label: "step", labelY: "frequency |k|",
      ticksX: evenly(player.steps), ticksY: octaves([1, last()]), noGrid: true,
      curves: player.head.coarse ? [{ points: [1, last()].map((k) => [player.head.coarse.change, k]),
        ink: "ink", dash: [4, 4], width: 1.5 }] : [], // from here on the grid is the run's own
    }),
    under: (c, chart) => {
      const { box } = chart, head = player.head, { prior, spread } = head.data;
      const colour = diverging(player.ink), wide = (box.r - box.l) / player.steps;
      const snr = (i, k) => ratio(head.alphas[i], head.sigmas[i], spread[k], prior[k]);
      for (let i = 0; i < player.steps; i++) {
        const x = box.l + i * wide;
        for (let k = 1; k <= last(); k++) {
          const [y, below] = [chart.Y(Math.min(last(), k + 0.5)), chart.Y(Math.max(1, k - 0.5))];
          c.fillStyle = colour(Math.log10(snr(i, k)));
          c.fillRect(Math.floor(x), Math.floor(y), Math.ceil(wide) + 1, Math.ceil(below - y) + 1);
        }
      }
      const shells = Array.from({ length: last() }, (_, i) => i + 1), margin = 0.4 * chart.size;
      c.textBaseline = "middle"; c.fillStyle = "#fff";
      for (const [word, i, sign, align, x] of [["noise", 0, 1, "left", box.l + margin],
        ["signal", player.steps - 1, -1, "right", box.r - margin]]) {
        const value = (k) => sign * Math.log(snr(i, k)); // the least is where the word is truest
        const at = shells.reduce((best, k) => (value(k) < value(best) ? k : best));
        if (value(at) >= 0) continue;
        const half = 0.5 * chart.size + margin;
        c.textAlign = align;
        c.fillText(word, x, Math.max(box.t + half, Math.min(box.b - half, chart.Y(at))));
      }
    },
    over: (c, chart) => {
      const x = chart.X(player.frame().step), { box } = chart;
      const at = (k) => (k < 1 ? box.b : k === Infinity ? box.t
        : Math.max(box.t, Math.min(box.b, chart.Y(k))));
      band.shade(c, at, (a, b) => c.fillRect(box.l, b, box.r - box.l, a - b));
      c.fillStyle = player.ink.ink;
      c.fillRect(Math.min(x, box.r - 1) - chart.ratio, box.t, 2.5 * chart.ratio, box.b - box.t);
    },
  }));
  band.watch($("map"), (event) => map.at(event)?.y, last);

  // -------------------------------------------------------------- words
  function changed(values) {
    const note = $("note"), none = !spec.props.trained[values.prior]?.length;
    note.hidden = !(values.score === "learned" && none);
    note.textContent = note.hidden ? "" : `No checkpoint was trained with the ${values.prior} prior `
      + "yet. Choose one of the exact scores, or another prior.";
  }
  return { changed, ask: own(root, view, runner), begin: () => pin.begin() };
}

// A network that was trained on this page, in place of a checkpoint.
function own(root, view, runner) {
  if (view.get("trained")) {
    const back = make("button", root.querySelector(".md-badges"), "md-own", "Leave the network trained here");
    back.type = "button";
    back.addEventListener("click", () => {
      view.set("trained", null);
      back.remove();
      runner.start(runner.values);
    });
  }
  return (query) => { if (view.get("trained")) query.set("trained", view.get("trained")); };
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
