// A finished run that stays beside the next one, under the same playhead.
import { make } from "./dom.js";
import { records } from "./stream.js";

export class Pin {
  kept = null; // {head, frames, words}

  // runner: whose runs can be pinned; changed(): it is another one now, or none
  constructor({ root, player, view, spec }, runner, changed) {
    Object.assign(this, { root, player, view, runner, changed });
    this.button = make("button", root.querySelector(".md-badges"), "md-pin", "Pin this run");
    this.button.type = "button";
    this.button.title = "Keep this run and see the next one beside it, at the same time t";
    this.button.setAttribute("aria-pressed", "false");
    this.button.addEventListener("click", () => (this.kept ? this.#keep(null) : this.#now()));
    const query = read(view.get("pin"), spec.fields);
    if (query) this.#compute(query);
    else view.set("pin", null);
  }
  #keep(kept, query = null) {
    this.kept = kept;
    this.view.set("pin", query);
    this.button.textContent = kept ? "Unpin" : "Pin this run";
    this.button.setAttribute("aria-pressed", String(Boolean(kept)));
    this.root.classList.toggle("md-pinned", Boolean(kept));
    this.changed();
    this.player.redraw(true);
  }
  #now() {
    const { player, runner } = this;
    if (runner.state !== "finished") return; // half a run compares with nothing
    this.#keep({ head: player.head, frames: player.tracks[0], words: runner.words(player.head) },
      write(runner.asked));
  }
  async #compute(query) { // as the link says
    const kept = { frames: [] };
    try {
      for await (const record of records(this.runner.address(query))) {
        if (record.kind === "error") throw Error(record.text);
        if (record.kind === "head") Object.assign(kept, { head: record, words: this.runner.words(record) });
        if (record.kind === "frame") kept.frames[record.step] = record;
      }
      this.#keep(kept, this.view.get("pin"));
    } catch (error) {
      this.view.set("pin", null);
      this.runner.alert(`The pinned run of the link: ${error.message ?? error}`);
    }
  }
  get frame() { // that at the time t of the playhead; step for step where both took the same steps
    const time = this.player.frame()?.readings.time;
    if (!this.kept || time === undefined) return undefined;
    const far = (frame) => Math.abs(frame.readings.time - time);
    return this.kept.frames.reduce((best, frame) => (far(frame) < far(best) ? frame : best));
  }
}
// Values of controls as one word of a URL: name-value*name-value
const write = (values) => Object.entries(values).map(([k, v]) => `${k}-${v}`).join("*");
function read(text, fields) {
  if (!text) return null;
  const found = Object.fromEntries(text.split("*").map((part) => {
    const at = part.indexOf("-");
    return [part.slice(0, at), part.slice(at + 1)];
  }));
  const known = fields.map((f) => f.name);
  return Object.keys(found).every((name) => known.includes(name)) ? found : null;
}
