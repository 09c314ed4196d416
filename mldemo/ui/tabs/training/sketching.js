// A few small sketches to train on: one pad, a slot for each sketch, all of them in the link.
import { sheet } from "../../static/dom.js";
import { CELLS, Region, SHEET, clear, greyscale, line, pen } from "../../static/pad.js";

const PEN = 22, LENGTH = 171; // on a sheet of 256; characters of a sketch in a link

export function sketching({ root, view, most }) {
  const $ = (name) => root.querySelector(".md-" + name);
  const pad = $("pad"), c = pad.getContext("2d"), small = sheet(CELLS);
  const words = view.get("sketches") ?? "";
  const regions = Array.from({ length: most }, (_, i) => {
    const region = new Region();
    region.text = words.slice(i * LENGTH, (i + 1) * LENGTH);
    return region;
  });
  let at = 0;

  const text = () => regions.filter((region) => !region.empty).map((region) => region.text).join("");
  const thumbnail = (region) => greyscale(region.cells.map((on) => 255 * on), CELLS);
  const slots = regions.map((_, i) => {
    const slot = document.createElement("button");
    slot.type = "button";
    slot.append(sheet(CELLS));
    slot.addEventListener("click", () => { at = i; paint(); });
    $("slots").append(slot);
    return slot;
  });
  function label() {
    slots.forEach((slot, i) => {
      slot.firstChild.getContext("2d").drawImage(thumbnail(regions[i]), 0, 0);
      slot.setAttribute("aria-pressed", String(i === at));
      slot.setAttribute("aria-label", `Sketch ${i + 1}${regions[i].empty ? ", empty" : ""}`);
    });
  }
  function paint() { // draws the chosen sketch on the pad
    clear(pad);
    if (!regions[at].empty) c.drawImage(thumbnail(regions[at]), 0, 0, SHEET, SHEET);
    label();
  }
  function remember() {
    const d = small.getContext("2d", { willReadFrequently: true });
    d.drawImage(pad, 0, 0, CELLS, CELLS);
    const { data } = d.getImageData(0, 0, CELLS, CELLS);
    regions[at].cells = regions[at].cells.map((_, i) => Number(data[4 * i] > 110));
    keep();
  }
  function keep() {
    view.set("sketches", text() || null);
    label();
  }
  pen(pad, { stroke: (from, to) => line(pad, from, to, "#fff", PEN), lifted: remember });
  $("erase").addEventListener("click", () => {
    regions[at].fill(() => false);
    keep();
    paint();
  });
  paint();
  return {
    get text() { return text(); },
    show(on) { $("sketching").hidden = !on; },
  };
}
