// Solvers: recorded errors of all samplers, one curve computed now, theory lines, tables.
import { Chart, DASHES, INKS, decades } from "../../static/chart.js";
import { table } from "../../static/table.js";

const THEORY = [1, 5];

export function create({ root, player, spec, view }) {
  const $ = (name) => root.querySelector(".md-" + name);
  const { study } = spec.props, samplers = Object.entries(study?.samplers ?? {});
  const inkOf = (name) => INKS[samplers.findIndex(([other]) => other === name)] ?? "x";
  const state = { error: "w2", cost: "steps", theory: true };

  // -------------------------------------------------------------- the curves
  const signed = (v) => v.toFixed(2).replace("-", "−");
  const slope = (sampler) => (state.error === "error" ? sampler.mixture_slope : sampler.gaussian_slope).slope;
  const rows = (sampler) => (state.error === "error" ? sampler.mixture : sampler.gaussian);
  function cost(row, sampler) {
    return state.cost === "seconds" ? row.calls * sampler.seconds_per_call : row[state.cost];
  }
  const recorded = () => samplers.map(([name, sampler], i) => ({
    name: `${sampler.label} ${signed(slope(sampler))}`, order: sampler.order, ink: inkOf(name), dash: DASHES[i % DASHES.length],
    points: rows(sampler).map((row) => [cost(row, sampler), row[state.error]]),
  }));
  function live() { // the points up to the playhead
    const frame = player.frame(), h = player.head;
    if (!frame || state.error === "error") return null;
    const pace = study?.samplers[h.sampler]?.seconds_per_call;
    if (state.cost === "seconds" && !pace) return null; // its cost was not recorded
    const points = player.tracks[0].slice(0, frame.step + 1).map(({ readings }) =>
      [state.cost === "seconds" ? readings.calls * pace : readings[state.cost], readings[state.error]]);
    return { name: `${h.label}, now`, ink: "ink", width: 4, points };
  }
  function theory(curves) { // a line of slope −order through an inner point of each curve
    return curves.map(({ points, order, ink }) => {
      const [x, y] = points[Math.floor(0.6 * points.length)];
      const line = [points[0][0], points.at(-1)[0]].map((v) => [v, y * (x / v) ** order]);
      return { ink, dash: THEORY, width: 1.6, points: line };
    });
  }
  const bounds = (curves, index) => {
    const all = curves.flatMap((c) => c.points.map((p) => p[index])).filter((v) => v > 0);
    return [Math.min(...all), Math.max(...all)];
  };
  const words = { steps: "steps", calls: "network calls", seconds: "CPU seconds for 16 images at 32²" };
  player.add(new Chart($("errors"), {
    layout: () => {
      const curves = recorded(), now = live();
      const all = now ? [...curves, now] : curves;
      if (!all.length) return null;
      const [low, high] = bounds(all, 1);
      const x = bounds(all, 0);
      return {
        x: [x[0] * 0.9, x[1] * 1.1], y: [10 ** Math.floor(Math.log10(low)), Math.min(10, high * 1.5)],
        logX: true, logY: true, label: words[state.cost], ticksX: ticks(x),
        curves: [...curves, ...(state.theory ? theory(curves) : [])],
      };
    },
    moving: () => [live()].filter(Boolean),
    over: (c, chart) => {
      const now = live();
      if (!now) return;
      c.fillStyle = player.ink.ink;
      for (const [x, y] of now.points) {
        c.beginPath();
        c.arc(chart.X(x), chart.Y(y), 3.6 * chart.ratio, 0, 7);
        c.fill();
      }
    },
  }));
  player.add(new Chart($("levels"), {
    layout: () => {
      if (!study) return null;
      const { levels, rows: all } = study.discretisation;
      const curves = all.map((row, i) => ({
        name: `s = ${row.exponent}: ${signed(row.slope)}`, ink: INKS[i % INKS.length], dash: DASHES[i % DASHES.length],
        points: levels.map((n, j) => [n, row.w2[j]]),
      }));
      const lines = all.map((row, i) => {
        const [n, m] = [levels[0], levels.at(-1)], y = row.w2.at(-1);
        return { ink: INKS[i % INKS.length], dash: THEORY, width: 1.6, points: [[n, y * (n / m) ** row.theory], [m, y]] };
      });
      const [low] = bounds(curves, 1);
      return {
        x: [levels[0], 1.1 * levels.at(-1)], y: [10 ** Math.floor(Math.log10(low)), 1.2], logX: true, logY: true,
        label: "level N",
        curves: [...curves, ...(state.theory ? lines : [])],
      };
    },
  }));

  // -------------------------------------------------------------- the tables
  const short = (v) => (v === undefined ? "–" : v < 1e-3 ? v.toExponential(1).replace("-", "−") : v.toPrecision(2));
  function tables() {
    if (!study) return;
    const { setting } = study;
    const at = (sampler, calls) => { // the run with the most steps within this many calls
      const fit = sampler.gaussian.filter((row) => row.calls <= calls);
      return short(fit.at(-1)?.w2);
    };
    const how = study.stale ? "Recorded with earlier code" : "Recorded";
    table($("cost"), `${how}: digits' mean and spectrum, ${setting.prior.name} prior, ${setting.resolution}². `
      + "CPU seconds: the checkpoint's network, 16 images, one thread",
      [["sampler", "sampler"], ...samplers.map(([, s]) => [s.label, "one-sampler", s.said])],
      [
        [["order", "order"], (s) => s.order],
        [["slope W₂", "slope-w2"], (s) => signed(s.gaussian_slope.slope)],
        [["slope path", "slope-path"], (s) => signed(s.mixture_slope.slope)],
        [["error ≤ 20 calls", "error-at-calls"], (s) => at(s, 20)],
        [["≤ 40", "error-at-calls"], (s) => at(s, 40)],
        [["≤ 80", "error-at-calls"], (s) => at(s, 80)],
        [["calls, 20 steps", "calls"], (s) => Math.round(s.seconds_20_steps / s.seconds_per_call)],
        [["CPU s", "cpu-seconds"], (s) => s.seconds_20_steps.toPrecision(2)],
      ].map(([name, value]) => [name, ...samplers.map(([, s]) => value(s))]));
    table($("slopes"), "W₂ from the noise to its part on level N: slope from N = 32 to 256", [["exponent s", "noise-exponent"], ["measured", "measured"], ["theory −(s − 1)", "theory-slope"]],
      study.discretisation.rows.map((r) => [r.exponent, signed(r.slope), signed(r.theory)]));
  }

  // -------------------------------------------------------------- what is shown
  const kind = $("error-kind"), against = $("cost-kind"), lines = $("theory");
  const requested = { error: view.get("error"), cost: view.get("against") };
  if ([...kind.options].some((o) => o.value === requested.error)) kind.value = requested.error;
  if ([...against.options].some((o) => o.value === requested.cost)) against.value = requested.cost;
  lines.checked = view.get("theory") !== "0";
  function chosen(write = true) {
    Object.assign(state, { error: kind.value, cost: against.value, theory: lines.checked });
    if (write) {
      view.set("error", state.error === "w2" ? null : state.error);
      view.set("against", state.cost === "steps" ? null : state.cost);
      view.set("theory", state.theory ? null : 0);
    }
    player.redraw(true);
  }
  for (const box of [kind, against, lines]) box.addEventListener("change", () => chosen());
  chosen(false);
  tables();
  return {
    whole: true, // each step adds a point
    words: (h) => [h.label, h.prior + " prior", h.resolution + "²", study ? "thin: recorded" : "no record here"],
  };
}

function ticks([low, high]) {
  const out = [];
  for (const [v, word] of decades([low / 10, high])) if (v >= low * 0.9) out.push([v, v >= 1 && v < 1e4 ? String(v) : word]);
  for (let d = 10 ** Math.floor(Math.log10(low)); d <= high; d *= 10)
    for (const m of [2, 5]) if (m * d >= low && m * d <= high) out.push([m * d, String(Number((m * d).toPrecision(1)))]);
  return out;
}
