// Training: the race of two lanes as one chart, four sheets and a table; sketches to train on.
import { carried, written } from "../../static/address.js";
import { Chart } from "../../static/chart.js";
import { Pictures } from "../../static/pictures.js";
import { download } from "../../static/export.js";
import { sketching } from "./sketching.js";

const EVEN = 0.02; // errors that differ by less, relative to the smaller, are a draw
const INK = ["one", "two"], DASH = [[], [9, 5]];

export function create({ root, player, spec, view, runner }) {
  const $ = (name) => root.querySelector(".md-" + name);
  const frames = (track) => player.tracks[track]?.slice(0, player.current + 1).filter(Boolean) ?? [];
  const percent = (v) => `${(100 * v).toFixed(1)} %`;
  let trained = null;

  // -------------------------------------------------------------- error against seconds
  const curve = (track) => ({
    name: player.heads[track]?.title ?? "", ink: INK[track], dash: DASH[track], width: 2.8,
    points: frames(track).map(({ readings: r }) => [r.seconds, r.error]),
  });
  player.add(new Chart($("losses"), {
    layout: () => {
      const { budget } = player.head, errors = player.tracks.flat().filter(Boolean).map((f) => f.readings.error);
      const low = Math.min(0.5, ...errors), bottom = Math.max(0.02, Math.floor(low * 10 - 0.2) / 10);
      return {
        x: [0, budget], y: [bottom, 1.04], label: "CPU seconds of a lane", curves: [],
        ticksX: upTo(budget), ticksY: tenths(bottom),
      };
    },
    moving: () => player.heads.map((_, track) => curve(track)),
    over: (c, chart) => {
      const finest = player.head.levels.at(-1), { box, ratio, size } = chart;
      const to = frames(0).find(({ readings: r }) => r.level === Number(finest));
      if (to?.step > 0) { // where the first lane went on to the finest grid
        const x = chart.X(to.readings.seconds);
        c.fillStyle = player.ink.ink;
        c.fillRect(x, box.t, ratio, box.b - box.t);
        Object.assign(c, { font: `${size}px ${player.ink.font}`, textAlign: "left", textBaseline: "top" });
        c.fillText(`→ ${finest}²`, x + 0.4 * size, box.t + 0.3 * size);
      }
      player.heads.forEach((_, track) => {
        const [x, y] = curve(track).points.at(-1) ?? [];
        if (x === undefined) return;
        c.fillStyle = player.ink[INK[track]];
        c.beginPath();
        c.arc(chart.X(x), chart.Y(y), 4.5 * chart.ratio, 0, 7);
        c.fill();
      });
    },
  }));

  // -------------------------------------------------------------- samples
  const shown = () => player.head.levels.map(Number).slice(-2);
  for (const [track, lane] of ["a", "b"].entries())
    for (const i of [0, 1])
      player.add(new Pictures($(lane + i), () => {
        const frame = player.frame(track), n = shown()[i], grey = frame?.data["at" + n];
        return grey && { grey, n, count: grey.length / n ** 2, key: grey };
      }));

  // -------------------------------------------------------------- words
  const ROWS = [
    ["CPU seconds", "race-clock", (r) => r.seconds.toFixed(1)],
    ["steps", "race-steps", (r) => String(r.steps)],
    ["trains at", "race-level", (r) => `${r.level}²`],
    ["pixels seen", "race-pixels", (r) => `${(r.pixels / 1e6).toFixed(1)} M`],
    ["error", "race-error", (r) => percent(r.error)],
  ];
  const cell = (tag, words, scope) => {
    const made = Object.assign(document.createElement(tag), { textContent: words });
    if (scope) made.scope = scope;
    return made;
  };
  const cells = new Map(); // the two cells of each row, in which a frame changes only the text
  const table = $("lanes"), heading = document.createElement("tr");
  heading.append(cell("td", ""), ...[["coarse to fine", "lane-coarse"], ["fine only", "lane-fine"]].map(([name, term]) => {
    const head = cell("th", name, "col");
    head.dataset.term = term;
    return head;
  }));
  table.tHead.append(heading);
  for (const [name, term] of ROWS) {
    const line = document.createElement("tr"), both = [cell("td", "–"), cell("td", "–")];
    const head = cell("th", name, "row");
    head.dataset.term = term;
    line.append(head, ...both);
    table.tBodies[0].append(line);
    cells.set(name, both);
  }
  function verdict() {
    if (player.current < player.steps) return "";
    const ends = [0, 1].map((track) => player.frame(track)?.readings);
    if (!ends.every(Boolean)) return "";
    const [a, b] = ends.map((r) => r.error), [t, u] = ends.map((r) => r.seconds.toFixed(0));
    const spent = t === u ? `${t} CPU seconds each` : `${t} and ${u} CPU seconds`;
    const gap = Math.abs(a - b) / Math.min(a, b), said = `${percent(a)} against ${percent(b)} of the filter's error`;
    if (gap < EVEN) return `A draw after ${spent}: the lanes are within 2 % of each other (${said}).`;
    const [winner, loser] = a < b ? ["Coarse to fine", "fine only"] : ["Fine only", "coarse to fine"];
    const says = a < b ? said : `${percent(b)} against ${percent(a)} of the filter's error`;
    return `${winner} won: after ${spent} its error on unseen ${player.head.levels.at(-1)}² images is `
      + `${(100 * (1 - Math.min(a, b) / Math.max(a, b))).toFixed(0)} % below that of ${loser} (${says}).`;
  }
  player.add({ draw() {
    for (const track of [0, 1]) {
      const r = player.frame(track)?.readings;
      for (const [name, , of] of ROWS) cells.get(name)[track].textContent = r ? of(r) : "–";
    }
    const words = verdict(), box = $("verdict");
    if (box.textContent !== words) box.textContent = words;
  } });
  player.reading("seconds", ({ readings: r }) => `${r.seconds.toFixed(0)} of ${player.head.budget}`, "CPU seconds");
  player.reading("error-a", ({ readings: r }) => percent(r.error), "error of coarse to fine");
  player.reading("error-b", () => percent(player.frame(1)?.readings.error ?? 1), "of fine only");

  const drawn = sketching({ root, view, most: spec.props.most });
  const sign = (words) => { $("sign").textContent = words; };
  function offer(record) {
    trained = record;
    $("take").hidden = !record;
    if (!record) return;
    root.querySelectorAll(".md-watch-it").forEach((a, i) => {
      const query = { tab: "watch", prior: player.head.prior, trained: record.names[i] };
      a.href = written(carried(new URLSearchParams(query)));
    });
  }
  $("save-zip").addEventListener("click", () => {
    $("zip-note").textContent = `${download(new Blob([trained.data.zip], { type: "application/zip" }), "mldemo-race.zip")}: `
      + "unpack it into a folder and sample with --checkpoints FOLDER";
  });
  return {
    get whole() { return root.dataset.mode === "live"; }, // the newest is shown while it trains
    ask: (query) => {
      drawn.show(runner.values.data === "sketches");
      if (drawn.text) query.set("sketches", drawn.text);
      sign("");
    },
    changed: (values) => {
      drawn.show(values.data === "sketches");
      sign("press Start to train with these");
    },
    begin: (head) => {
      if (head.track) return runner.labels(); // now both are known
      offer(null);
      sign("");
      shown().forEach((n, i) => {
        for (const e of root.querySelectorAll(".md-size-" + i)) e.textContent = `${n}²`;
      });
    },
    record: (record) => {
      if (record.kind === "trained") { sign(""); return offer(record); }
      if (record.kind !== "sign") return;
      const told = record.lanes.map(([steps], i) => `${["coarse to fine", "fine only"][i]} step ${steps}`);
      sign(record.text || told.join(", "));
    },
    words: (h) => {
      const titles = player.heads.map((head) => head.plan.map(([n]) => n + "²").join(" → "));
      table.caption.textContent = `${h.learns}; ${Math.round(h.weights / 1000)} thousand weights, batch ${h.batch}, `
        + `seed ${h.seed}, at the playhead`;
      return [titles.join(" beside "), h.prior + " prior", `${h.budget} CPU seconds each`, "seed " + h.seed];
    },
  };
}

function upTo(last) {
  const every = last > 30 ? 10 : last > 15 ? 5 : 2, out = [];
  for (let v = 0; v <= last; v += every) out.push([v, String(v)]);
  return out;
}
function tenths(bottom) {
  const out = [];
  for (let v = 10; v >= 10 * bottom - 0.01; v -= bottom > 0.55 ? 1 : 2) out.push([v / 10, `${v * 10} %`]);
  return out;
}
