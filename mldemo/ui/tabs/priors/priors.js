// Priors: draws above, eigenvalues and traces below; the verdict beside each name.
import { Chart, DASHES, INKS, around, decades, octaves } from "../../static/chart.js";
import { make } from "../../static/dom.js";
import { explain } from "../../static/explain.js";
import { Pictures } from "../../static/pictures.js";
import { shells } from "../../static/spectrum.js";

export function create({ root, player }) {
  const $ = (name) => root.querySelector(".md-" + name), area = $("draws");
  let found = [], cards = [], coming = [];
  const curve = (p, points) =>
    ({ points, ink: INKS[p.index], dash: DASHES[p.index], name: p.name, width: 2.6 });
  const last = 128;
  const charts = [
    new Chart($("q"), {
      layout: () => found.length ? {
        x: [1, last], y: around(found.map((p) => p.data.q.subarray(1, last + 1)), 9),
        logX: true, logY: true, label: "frequency |k|",
        curves: found.map((p) => curve(p, shells(p.data.q, last))),
      } : null,
    }),
    new Chart($("trace"), {
      layout: () => {
        if (!found.length) return null;
        const levels = player.head.levels_shown, all = found.flatMap((p) => [...p.data.traces]);
        const [low, high] = [Math.min(...all.filter((v) => v > 0)), Math.max(...all)];
        const y = [low / 4, high * 1.6], many = Math.log10(y[1] / y[0]) >= 2;
        return {
          x: [levels[0], levels.at(-1)], y, logX: true, logY: true, label: "resolution N",
          ticksX: octaves([levels[0], levels.at(-1)]),
          ticksY: many ? decades(y) : fine(y),
          curves: found.flatMap((p) => {
            const line = curve(p, levels.map((n, i) => [n, p.data.traces[i]]));
            const ceiling = { points: [[levels[0], p.total], [levels.at(-1), p.total]],
              ink: INKS[p.index], dash: [1, 5], width: 1.4 };
            return p.total === null ? [line] : [line, ceiling];
          }),
        };
      },
    }),
  ];

  function build(head) {
    area.replaceChildren();
    area.style.setProperty("--md-levels", head.priors.length);
    player.panels = [...charts];
    cards = head.priors.map((name, index) => {
      const box = make("figure", area, "md-card"), title = make("figcaption", box);
      const swatch = make("span", title, "md-swatch");
      swatch.style.background = `var(--md-${INKS[index]})`;
      make("b", title, "", name);
      const canvas = make("canvas", make("div", box, "md-picture"));
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Four draws of the ${name} prior`);
      player.add(new Pictures(canvas, () => {
        const p = found[index];
        return p && { grey: p.data.draws, n: player.head.resolution, count: 4, key: p.data.draws };
      }));
      title.dataset.term = "card";
      const term = (tag, style, name) => {
        const e = make(tag, box, style);
        Object.assign(e.dataset, { term: name, name });
        return e;
      };
      const card = {
        verdict: make("span", term("p", "md-verdict", "verdict")), reason: make("p", box, "md-reason"),
        formula: make("span", term("p", "md-formula", "formula")), sample: make("div", box, "md-sample"),
      };
      card.sample.hidden = true;
      return card;
    });
    explain(area);
  }
  for (const chart of charts) player.add(chart);
  let names = "";
  return {
    begin(head) {
      coming = [];
      if (names !== head.priors.join()) { found = []; build(head); }
      names = head.priors.join();
    },
    record(record) {
      const card = cards[record.index];
      if (record.kind === "sample") return sample(card, record);
      if (record.kind !== "prior") return;
      coming[record.index] = record;
      card.sample.hidden = true;
      card.verdict.textContent = record.trace_class ? "trace class" : "not trace class";
      card.verdict.parentElement.classList.toggle("md-fails", !record.trace_class);
      card.reason.textContent = record.reason
        + (record.mean_is_noisy ? "." : "; the mean (k = 0) carries no noise.");
      card.formula.textContent = record.formula;
      if (coming.filter(Boolean).length === cards.length) {
        found = coming;
        for (const chart of charts) chart.begin();
        player.redraw(true);
      }
    },
    words: (h) => [h.priors.length + " priors", "draws at " + h.resolution + "²", "seed " + h.seed],
  };
  function sample(card, record) {
    card.sample.hidden = false;
    card.sample.replaceChildren();
    const words = make("p", card.sample, "md-reason", record.count ? "what the network makes of it" : record.why);
    words.dataset.term = "sample";
    explain(card.sample);
    if (!record.count) return;
    const canvas = make("canvas", make("div", card.sample, "md-picture"));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "Samples of the network under this prior");
    const shown = new Pictures(canvas, () =>
      ({ grey: record.data.pixels, n: record.resolution, count: record.count }));
    shown.draw(player, true);
  }
}
function fine([low, high]) { // 1, 2, 5, 10, … between the ends
  const out = [];
  for (let d = Math.floor(Math.log10(low)); d <= Math.log10(high); d++)
    for (const f of [1, 2, 5]) {
      const v = f * 10 ** d;
      if (v >= low && v <= high) out.push([v, String(Number(v.toPrecision(1)))]);
    }
  return out;
}
