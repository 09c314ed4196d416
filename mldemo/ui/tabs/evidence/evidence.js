// Evidence: a record's figure and table, what it supports, and a list of all records.
import { carried, written as address } from "../../static/address.js";
import { INKS } from "../../static/chart.js";
import { make } from "../../static/dom.js";
import { download } from "../../static/export.js";
import { table } from "../../static/table.js";
import { dressed, ticked } from "./figure.js";

let library = null; // Plotly, loaded when the first figure is drawn
const plotly = (address) => library ??= new Promise((done, failed) => {
  const script = document.createElement("script");
  script.src = new URL(address, document.baseURI).href;
  script.onload = () => done(window.Plotly);
  script.onerror = () => { library = null; failed(Error("the library that draws figures did not load")); };
  document.head.append(script);
});

export function create({ root, player, spec, view, runner }) {
  const $ = (name) => root.querySelector(".md-" + name), plot = $("plot"), legend = $("lines");
  let head = null, toggled = new Set(), asked = view.get("toggled"), drawing = 0, free = [];

  // -------------------------------------------------------------- the figure
  const names = () => [...new Set(head.figure.data.map((trace) => trace.name))];
  const shown = (name) => {
    const first = head.figure.data.find((trace) => trace.name === name);
    return (first.visible !== "legendonly") !== toggled.has(names().indexOf(name));
  };
  const tick = () => window.Plotly.relayout(plot, ticked(plot, free));
  async function draw() {
    const mine = (drawing += 1), { study } = head ?? {}, { clientWidth: width, clientHeight: height } = plot;
    if (!head || !width || !height) return;
    const Plotly = await plotly(spec.props.plotly);
    if (mine !== drawing) return; // superseded by another size or figure
    const { data, layout, free: own } = dressed(head.figure, player.ink, { width, height, shown });
    await Plotly.react(plot, data, layout, { displayModeBar: false });
    if (mine !== drawing) return;
    free = own;
    await tick();
    if (!root.dataset.plotted) // a part enlarged, or all of it again
      plot.on("plotly_relayout", (change) => { if (/range/.test(Object.keys(change))) tick(); });
    root.dataset.plotted = study;
  }
  const redraw = () => draw().catch((error) => runner.alert(error.message));
  player.add({ canvas: plot, draw: redraw });

  function keys() { // a legend that can be used with a keyboard
    legend.replaceChildren(...names().map((name, i) => {
      const button = document.createElement("button"), trace = head.figure.data.find((t) => t.name === name);
      button.type = "button";
      button.setAttribute("aria-pressed", shown(name));
      button.style.setProperty("--ink", `var(--md-${INKS[trace.meta % INKS.length]})`);
      Object.assign(make("span", button, "md-key").dataset, { dash: trace.line.dash, symbol: trace.marker.symbol });
      make("span", button, "", name);
      button.addEventListener("click", () => {
        if (!toggled.delete(i)) toggled.add(i);
        button.setAttribute("aria-pressed", shown(name));
        view.set("toggled", toggled.size ? [...toggled].sort((a, b) => a - b).join(".") : null);
        redraw();
      });
      return button;
    }));
  }

  // -------------------------------------------------------------- the words and numbers
  const seconds = (s) => (s < 120 ? `${Math.round(s)} s` : s < 7200
    ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`);
  const written = (v) => (v === null ? "–" : typeof v !== "number" ? v // a name keeps its hyphens
    : (Number.isInteger(v) ? String(v) : Math.abs(v) >= 1e-3 && Math.abs(v) < 1e5
      ? String(Number(v.toPrecision(4))) : v.toExponential(2)).replaceAll("-", "−"));
  function words() {
    const mine = head.every.find((one) => one.name === head.study);
    const { machine, versions, cpu_seconds: spent } = head.made; // an evaluation keeps none of them
    const put = { "record-state": mine.said, supported: mine.conclusion, "made-by": head.command,
      date: head.record.date, spent: spent ? seconds(spent) : "",
      seeds: head.record.seeds.join(", ") + (head.why ? ` (${head.why})` : ""),
      machine: !machine ? "" : `${machine.processor}, ${machine.system}, ${machine.threads} thread`
        + `${machine.threads > 1 ? "s" : ""}; ${Object.entries(versions).map((pair) => pair.join(" ")).join(", ")}` };
    for (const [name, text] of Object.entries(put)) $(name).textContent = text;
    for (const dd of root.querySelectorAll(".md-made dd")) dd.parentElement.hidden = !dd.textContent;
    root.dataset.record = mine.state;
    plot.setAttribute("aria-label", `${head.question} ${mine.conclusion} The numbers are in the table.`);
    const link = $("shown-in");
    link.href = address(carried(new URLSearchParams(head.link)));
    link.textContent = "Open the page at a run that shows it";
    table($("rows").firstElementChild, `${head.rows.length} rows. ${head.note}`.trim(), head.columns,
      head.rows.map((row) => row.map(written)));
  }
  function list() {
    const box = $("every-record").firstElementChild;
    table(box, "All records", ["question", "what the record supports", "date", "record"],
      head.every.map((one) => [one.question, one.conclusion, one.date, one.said]));
    [...box.tBodies[0].rows].forEach((row, i) => {
      const { name, question, state } = head.every[i], button = document.createElement("button");
      button.type = "button";
      button.textContent = question;
      button.setAttribute("aria-current", name === head.study);
      button.addEventListener("click", () => {
        document.querySelector(`#evidence-study input[value="${CSS.escape(name)}"]`).click();
        root.scrollIntoView();
        root.focus({ preventScroll: true });
      });
      row.cells[0].replaceChildren(button);
      row.dataset.record = state;
    });
    $("unrecorded").hidden = !head.unrecorded.length;
    $("unrecorded").lastElementChild.replaceChildren(...head.unrecorded.map(({ question, command }) => {
      const item = document.createElement("li");
      item.append(question, " ");
      make("code", item, "", command);
      return item;
    }));
  }
  $("save-table").addEventListener("click", () => {
    if (head) $("copied").textContent = download(new Blob([head.csv], { type: "text/csv" }), `mldemo-${head.study}.csv`);
  });
  $("save-figure").addEventListener("click", async () => {
    if (!head) return;
    const { study } = head;
    try {
      const Plotly = await plotly(spec.props.plotly);
      const svg = decodeURIComponent((await Plotly.toImage(plot, { format: "svg" })).split(",").slice(1).join(","));
      $("copied").textContent = download(new Blob([svg], { type: "image/svg+xml" }), `mldemo-${study}.svg`);
    } catch (error) {
      $("copied").textContent = error.message;
    }
  });

  return {
    begin(next) {
      const same = head?.study === next.study;
      head = next;
      if (!same) { // other lines; those in a link belong to the first figure
        toggled = new Set((asked ?? "").split(".").filter((i) => /^\d{1,3}$/.test(i)).map(Number));
        for (const i of toggled) if (i >= names().length) toggled.delete(i);
        if (!asked) view.set("toggled", null);
        asked = null;
      }
      words();
      list();
      keys();
      player.redraw(true);
    },
    words: (h) => [h.question],
  };
}
