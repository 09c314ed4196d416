// A finished run that is kept beside the next one, under the same playhead.
import { make } from "./dom.js";
import { explain } from "./explain.js";
import { settled } from "./fields.js";
import { Pictures } from "./pictures.js";
import { records } from "./stream.js";

const TERMS = { x: "state", x0: "prediction" };
const SHEETS = { x: "x<sub>t</sub>", x0: "x̂<sub>0</sub>" };

export class Pin {
  kept = null; // {head, frames, words}
  #sheets;

  // runner: whose runs can be pinned. area, before: where the pinned run's sheets are inserted;
  // pick(frame, name, head): what is drawn there; changed(): called after pinning and unpinning
  constructor({ root, player, view, spec }, runner, { area, before = null, pick, changed = () => {} }) {
    Object.assign(this, { root, player, view, spec, runner, changed });
    this.#sheets = Object.entries(SHEETS).map(([name, title]) => {
      const figure = make("figure", area, "md-beside"), caption = make("figcaption", figure);
      area.insertBefore(figure, before);
      figure.dataset.hide = name;
      figure.hidden = true;
      caption.dataset.term = TERMS[name];
      const canvas = make("canvas", make("div", figure, "md-picture"), `md-beside-${name}`);
      canvas.setAttribute("role", "img");
      player.add(new Pictures(canvas, () => this.frame && pick(this.frame, name, this.kept.head)));
      return { figure, caption, canvas, title };
    });
    this.button = root.querySelector(".md-pin");
    this.button.addEventListener("click", () => (this.kept ? this.#keep(null) : this.#now()));
    const words = view.get("pin"), query = read(words, spec);
    if (query) this.#compute(query, words);
    else view.set("pin", null);
    this.#show();
  }
  #keep(kept, query = null) {
    this.kept = kept;
    this.view.set("pin", query);
    this.root.classList.toggle("md-pinned", Boolean(kept));
    this.#show();
    this.changed();
    this.player.redraw(true);
  }
  #now() {
    const { player, runner } = this;
    if (runner.state !== "finished") // half a run is no use for comparison
      return runner.alert("A run can be pinned as soon as it is finished.");
    this.#keep({ head: player.head, frames: player.tracks[0], words: runner.words(player.head) },
      write(settled(this.spec.fields, runner.asked, player.head)));
  }
  async #compute(query, words) { // as the link says, unless another run has been pinned meanwhile
    const kept = { frames: [] }, current = () => this.view.get("pin") === words;
    try {
      for await (const record of records(this.runner.address(query))) {
        if (record.kind === "error") throw Error(record.text);
        if (record.kind === "head") Object.assign(kept, { head: record, words: this.runner.words(record) });
        if (record.kind === "frame") kept.frames[record.step] = record;
      }
      if (current()) this.#keep(kept, words);
    } catch (error) {
      if (!current()) return;
      this.view.set("pin", null);
      this.runner.alert(`The pinned run of the link: ${error.message ?? error}`);
    }
  }
  begin() { if (this.kept) this.#show(); } // another run is shown
  #show() {
    const { kept } = this;
    this.button.textContent = kept ? "Unpin" : "Pin this run";
    this.button.setAttribute("aria-pressed", String(Boolean(kept)));
    this.root.dataset.pinned = String(Boolean(kept));
    for (const { figure, caption, canvas, title } of this.#sheets) {
      figure.hidden = !kept;
      if (!kept) continue;
      caption.innerHTML = `<b>${title}</b> `;
      caption.append(`${this.#difference()}, pinned`);
      caption.title = kept.words;
      explain(figure);
      canvas.setAttribute("aria-label", `Pinned run: ${kept.words}`);
    }
  }
  #difference() { // the settings in which it differs from the run that is shown
    const { head } = this.player;
    const all = (run, words) => [run.scoreLabel, run.checkpoint, ...words.split(" · ")].filter(Boolean);
    const now = head ? all(head, this.runner.words(head)) : [];
    return all(this.kept.head, this.kept.words).filter((w) => !now.includes(w)).join(" · ") || "the same";
  }
  // The pinned frame closest in time t to the playhead's; the same step if both runs took the same
  // steps. A run that first dissolves a picture passes each t twice: at step `turn` it turns back.
  get frame() {
    const now = this.player.frame();
    if (!this.kept || !now) return undefined;
    const rises = (frame, head) => frame.step < (head.turn ?? 0), up = rises(now, this.player.head);
    const far = ({ readings }) => Math.abs(readings.time - now.readings.time);
    const same = this.kept.frames.filter((frame) => rises(frame, this.kept.head) === up);
    return (same.length ? same : this.kept.frames)
      .reduce((best, frame) => (far(frame) < far(best) ? frame : best));
  }
}
// The query of a run as one value of a URL: name-value*name-value
export const write = (values) => Object.entries(values).map(([k, v]) => `${k}-${v}`).join("*");
function read(text, { fields, unseen }) {
  if (!text) return null;
  const found = Object.fromEntries(text.split("*").map((part) => {
    const at = part.indexOf("-");
    return [part.slice(0, at), part.slice(at + 1)];
  }));
  const known = [...fields.map((f) => f.name), ...unseen];
  return Object.keys(found).every((name) => known.includes(name)) ? found : null;
}
