// Forward: a sheet to draw on, the run as two sheets, one picture under every prior, the spectrum.
import { sheet } from "../../static/dom.js";
import { Pictures } from "../../static/pictures.js";
import { Pin } from "../../static/pin.js";
import { diffusion } from "../../static/snr.js";
import { spectrum } from "../../static/spectrum.js";
import { REGIONS, Region, SHEET, clear, greyscale, invert, line, onLight, open, pack, pen, unpack } from "../../static/pad.js";

const PEN = 15, WAIT = 500; // width on a sheet of 256; ms after the last stroke
const FOR = { t: ["denoise"], keep: ["extend"], method: ["extend", "inpaint"] };

export function create({ root, player, spec, view, runner }) {
  const $ = (name) => root.querySelector(".md-" + name);
  const pad = $("pad"), ink = sheet(SHEET);
  const region = new Region();
  let drawn = false, clean = null, kept = null; // drawn: given is the sheet, not the digit

  // -------------------------------------------------------------- what the player shows
  diffusion(player);
  const pick = (frame, name, { resolution: n, count }) =>
    ({ grey: frame.data[name], n, count, key: frame.data[name] });
  for (const name of ["x", "x0"])
    player.add(new Pictures($(name), () => pick(player.frame(), name, player.head)));
  const pin = new Pin({ root, player, view, spec }, runner, { area: $("forward"), pick });
  player.add(new Pictures($("kept"), () => kept && { ...kept, key: kept.grey }));
  spectrum($("s"), player, (c, chart) => {
    const { kind_of_edit: kind, keep } = player.head;
    if (kind !== "extend" || keep < 1) return;
    const x = Math.min(chart.box.r, chart.X(keep + 0.5));
    c.globalAlpha = 0.15;
    c.fillStyle = player.ink.accent;
    c.fillRect(chart.box.l, chart.box.t, x - chart.box.l, chart.box.b - chart.box.t);
    c.globalAlpha = 1;
  });
  const rows = []; // one canvas for each prior
  function everyPrior(list) {
    if (rows.length) return; // they are the same in every run
    for (const [i, name] of list.entries()) {
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      const frame = document.createElement("div"), canvas = document.createElement("canvas");
      caption.textContent = name;
      frame.className = "md-picture";
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `The given picture under the ${name} prior`);
      frame.append(canvas);
      figure.append(caption, frame);
      $("every").append(figure);
      rows.push(player.add(new Pictures(canvas, () => {
        const n = player.head.resolution, { every } = player.frame().data;
        return { grey: every.subarray(i * n * n, (i + 1) * n * n), n, count: 1, key: every };
      })));
    }
  }

  // -------------------------------------------------------------- the sheet
  function paint() {
    const c = pad.getContext("2d");
    c.imageSmoothingEnabled = drawn;
    if (drawn) c.drawImage(ink, 0, 0);
    else if (clean) c.drawImage(clean, 0, 0, SHEET, SHEET);
    if (region.empty || runner.values.kind !== "inpaint") return;
    const side = SHEET / Math.sqrt(region.cells.length), perRow = SHEET / side;
    c.fillStyle = getComputedStyle(root).getPropertyValue("--md-prior");
    c.globalAlpha = 0.55;
    region.cells.forEach((on, i) => {
      if (on) c.fillRect((i % perRow) * side, Math.floor(i / perRow) * side, side, side);
    });
    c.globalAlpha = 1;
  }
  let packing = 0;
  async function remember() { // saves the sheet in the link; false if called again meanwhile
    const mine = (packing += 1);
    try {
      const words = drawn ? await pack(ink) : null;
      if (mine !== packing) return false;
      view.set("picture", words);
      view.set("region", region.text || null);
    } catch (error) { // what is drawn doesn't fit into a link: no run can be asked for it
      say(error.message);
      return false;
    }
    return mine === packing;
  }
  function say(words = "", offer = false) { // shown beside the sheet, where the visitor is looking
    $("pad-note").hidden = !words;
    $("pad-says").textContent = words;
    $("pad-offer").hidden = !offer;
  }
  let later = 0;
  function again() { // recompute once nothing has been drawn for a moment; the link knows it at once
    paint();
    say();
    const remembered = remember();
    clearTimeout(later);
    later = setTimeout(async () => {
      if (await remembered) runner.start(runner.values);
    }, WAIT);
  }
  const tool = $("tool");
  function stroke(from, to) {
    const what = tool.value;
    if (what === "mark" || what === "unmark") region.mark(to, what === "mark");
    else {
      if (!drawn) { // the first stroke goes on top of what is shown
        if (clean) ink.getContext("2d").drawImage(clean, 0, 0, SHEET, SHEET);
        else clear(ink);
        drawn = true;
      }
      line(ink, from, to, what === "draw" ? "#fff" : "#000", what === "draw" ? PEN : 2 * PEN);
    }
    paint();
  }
  pen(pad, { stroke, down: () => clearTimeout(later), lifted: again });

  const on = (name, action) => $(name).addEventListener("click", action);
  on("pad-new", () => { clear(ink); drawn = true; tool.value = "draw"; again(); });
  on("pad-digit", () => { drawn = false; clean = null; again(); });
  for (const name of ["pad-invert", "pad-offer"]) on(name, () => {
    if (!drawn && clean) ink.getContext("2d").drawImage(clean, 0, 0, SHEET, SHEET);
    drawn = true;
    invert(ink);
    again();
  });
  on("pad-open", () => $("pad-file").click());
  $("pad-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    try {
      await open(ink, file);
      drawn = true;
      again();
      if (onLight(ink))
        say("This picture has a light background; the network knows light strokes on a dark one.", true);
    } catch (error) {
      say(error.message);
    }
  });
  $("region").addEventListener("change", (event) => {
    const shape = REGIONS[event.target.value];
    if (!shape) return;
    region.fill(shape);
    event.target.value = "";
    again();
  });

  // -------------------------------------------------------------- between link, form and run
  const folding = document.head.appendChild(document.createElement("style")); // also of later controls
  let edit = null; // the kind that the tool and the region were last set for
  function suit(values) { // show the controls that this edit uses, and set the pencil's tool
    const idle = Object.keys(FOR).filter((name) => !FOR[name].includes(values.kind));
    folding.textContent = `${idle.map((name) => "#forward-" + name).join()} { display: none !important; }`;
    $("kept-figure").hidden = values.kind !== "extend";
    $("region").closest("label").hidden = values.kind !== "inpaint";
    for (const option of tool.options)
      if (option.value.endsWith("mark")) option.hidden = option.disabled = values.kind !== "inpaint";
    if (values.kind !== edit) {
      edit = values.kind;
      if (edit === "inpaint" && region.empty) region.fill(REGIONS.right);
      if (edit === "inpaint" || tool.value.endsWith("mark")) tool.value = edit === "inpaint" ? "mark" : "draw";
    }
    view.set("region", (values.kind === "inpaint" && region.text) || null);
    paint();
  }
  region.text = view.get("region") ?? "";
  const words = view.get("picture");
  const ready = words ? unpack(ink, words).then(() => { drawn = true; paint(); }, () => {
    view.set("picture", null);
    say("The picture in the link cannot be read.");
  }) : Promise.resolve();

  return {
    idle: () => ready.then(() => runner.start(runner.values)),
    ask: (query) => {
      suit(runner.values);
      if (view.get("picture")) query.set("picture", view.get("picture"));
      if (view.get("region")) query.set("region", view.get("region"));
    },
    changed: suit,
    stop: () => clearTimeout(later),
    begin: (head) => { clean = kept = null; everyPrior(head.priors); pin.begin(); },
    record: (record) => {
      const { n, data } = record;
      clean = greyscale(data.clean, n);
      kept = data.kept ? { grey: data.kept, n, count: 1 } : null;
      paint();
      player.redraw(true);
    },
    words: (h) => [h.prior + " prior", h.resolution + "²",
      { denoise: `up to t = ${h.until}`, extend: `|k| ≤ ${h.keep} kept`,
        inpaint: "region filled" }[h.kind_of_edit], h.given, h.solver_steps + " steps", h.sampler, "seed " + h.seed],
  };
}
