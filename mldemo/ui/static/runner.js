// Connects a tab's controls to its player: starts and stops runs, and labels what is shown.
import { Player, still } from "./player.js";
import { records } from "./stream.js";
import { played } from "./controls.js";
import { make } from "./dom.js";
import { sharing } from "./sharing.js";
import { text } from "./fields.js";

const LIVE = new URL("../../live/", import.meta.url);
const deviceName = (device) => (device === "cpu" ? "CPU" : `GPU (${device})`);

export class Runner {
  note = ""; // a remark on the link, shown with the run that the link starts
  #run = null; #usual; #coming; #count = 0; #arrived = [0, 0, 0]; #later = 0; #ms = []; #target = null; #filled = null; #said = 0;

  constructor(root, spec, module, view, link) {
    Object.assign(this, { root, spec, view });
    this.player = new Player(root, view);
    this.tab = module.create({ root, player: this.player, spec, view, runner: this });
    this.values = Object.fromEntries(spec.fields.map((f) => [f.name, f.default]));
    this.asked = this.#usual = this.#texts(); // asked: the query of the run that is shown
    this.sharing = sharing(this.player, spec.tab, link);
    this.player.changed = () => this.#pace();
    const step = Number(view.get("step") ?? NaN); // the link's step, for the run that it starts
    if (Number.isInteger(step) && step >= 0) this.#target = step;
  }
  put(name, words) { this.player.put(name, words); }
  alert(words, again = false) { // again: with a button that makes the same request once more
    const box = this.player.$("alert");
    box.textContent = words;
    box.hidden = !words;
    if (!again) return;
    const button = make("button", box, "md-again", "Try again");
    button.type = "button";
    button.addEventListener("click", () => this.start(this.values));
  }
  set state(state) {
    this.root.dataset.state = state;
    this.labels();
  }
  get state() { return this.root.dataset.state ?? "idle"; }

  // -------------------------------------------------------------- runs
  opening() { // nothing was requested: play the recording, if there is one
    const { recording } = this.spec.props;
    if (recording) return this.#play(new URL(recording, import.meta.url), "prerecorded");
    if (this.tab.idle) return this.tab.idle();
    this.alert(this.note);
    this.put("mode", "press Start");
  }
  address(query) { // of a live run
    const url = new URL(this.spec.tab, LIVE);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    return url;
  }
  #texts() { return Object.fromEntries(this.spec.fields.map((f) => [f.name, text(this.values[f.name])])); }
  start(values) {
    this.values = values;
    const url = this.address(this.#texts());
    this.tab.ask?.(url.searchParams); // what the tab's script sends besides the fields
    this.put("mode", "starting …");
    return this.#play(url, "live", Object.fromEntries(url.searchParams));
  }
  changed(values) { // a change of the controls starts a new run
    this.values = values;
    this.tab.changed?.(values);
    clearTimeout(this.#later);
    if (this.spec.alone) return; // only Start starts runs that take minutes
    this.#later = setTimeout(() => this.start(values), this.spec.eager ? 30 : 200);
  }
  stop() {
    clearTimeout(this.#later);
    this.tab.stop?.();
    this.#run?.abort();
  }

  async #play(url, mode, asked = this.#usual) {
    this.stop();
    this.#coming = asked;
    const control = new AbortController(), id = `${mode}-${(this.#count += 1)}`;
    this.#run = control;
    this.alert(this.note);
    this.note = "";
    this.state = "waiting";
    let ended = false;
    try {
      for await (const record of records(url, control.signal)) {
        if (this.#run !== control) return;
        ended ||= record.kind === "end" || record.kind === "error";
        this.#receive(record, mode, id);
      }
      if (!ended) throw Error("the connection broke off");
    } catch (error) {
      if (this.#run !== control) return;
      if (error.name === "AbortError") {
        if (mode === "live" && !this.player.head && this.spec.props.recording) return this.opening();
        this.#over(this.state === "running" ? "stopped" : "idle");
      }
      else if (error.refused) this.#refused(error.message, control);
      else this.#failed(mode === "live" ? String(error.message ?? error)
        : "There is no recording here. Press Start to compute one live.");
    } finally {
      if (this.#run === control) this.#run = null;
    }
  }
  #failed(words, again = false) {
    this.alert(words, again);
    this.#over(this.state === "running" ? "stopped" : "failed");
  }
  #refused(words, run) { // no place was free; one may be soon
    this.#failed(words, true);
    this.#meanwhile(run);
  }
  #receive(record, mode, id) {
    if (record.kind === "line") return this.#wait(record, this.#run);
    if (record.kind === "error") return this.#failed(record.text);
    if (record.kind === "head") this.#begin(record, mode, id);
    else if (record.kind === "frame") {
      this.#timed(record);
      this.player.push(record);
    } else if (record.kind === "end") this.#over("finished");
    else this.tab.record?.(record);
  }
  #wait({ place, seconds }, run) {
    const about = seconds < 1 ? "less than 1 s" : `about ${Math.round(seconds)} s`;
    this.put("mode", `waiting: number ${place} in line, ${about}`);
    this.#meanwhile(run);
  }
  async #meanwhile(run) { // if nothing is shown yet, the recording plays until a run begins
    const { recording } = this.spec.props, { player } = this;
    if (!recording || player.head || this.#filled === run) return;
    this.#filled = run;
    try {
      for await (const record of records(new URL(recording, import.meta.url), run.signal)) {
        if (this.#filled !== run) return;
        if (record.kind === "head") {
          this.root.dataset.mode = "prerecorded";
          this.asked = this.#usual;
          player.begin(record, { target: still.matches ? Infinity : null, whole: this.tab.whole });
          this.tab.begin?.(record);
          this.labels();
        } else if (record.kind === "frame") player.push(record);
      }
      if (this.#filled === run) player.end();
    } catch { /* the run itself reports the error */ }
  }
  #begin(head, mode, id) {
    this.#filled = null;
    this.asked = this.#coming;
    if (!head.track) {
      this.#arrived = [0, 0, 0];
      this.#ms = [];
      Object.assign(this.root.dataset, { mode, run: id });
    }
    const target = this.#target ?? (still.matches ? Infinity : null); // no motion: only the end
    this.player.begin(head, { target, whole: this.tab.whole });
    this.#target = null;
    this.sharing.begin(head);
    this.tab.begin?.(head);
    if (this.state !== "running") this.state = "running";
  }
  #over(state) {
    if (this.state === "running") this.player.end();
    this.state = state;
    this.#speeds();
  }

  // -------------------------------------------------------------- how fast
  #timed(frame) {
    const a = this.#arrived, now = performance.now(), { ms } = frame.readings;
    if (!a[2]) a[0] = now;
    a[1] = now;
    a[2] += 1;
    if (ms !== undefined) this.#ms.push(ms);
    if (a[2] % 8 === 0 || now - this.#said > 500) this.#speeds();
  }
  #speeds() {
    const [first, last, count] = this.#arrived, live = this.root.dataset.mode === "live";
    const ms = [...this.#ms].sort((a, b) => a - b)[this.#ms.length >> 1]; // the median
    if (ms !== undefined) this.put("ms", ms.toFixed(ms < 10 ? 1 : 0) + " ms");
    this.put("fps", live && count > 1 ? ((count - 1) * 1000 / (last - first)).toFixed(0) : "–");
    this.#said = performance.now();
    this.#pace();
  }
  get #left() { // seconds until the run is computed, at its speed so far
    const [first, last] = this.#arrived, { latest, steps } = this.player;
    return this.state === "running" && latest > 0 ? (steps - latest) * (last - first) / latest / 1000 : 0;
  }
  #pace() { // playback may lag behind the computation
    const { latest, playing, playhead } = this.player, live = this.root.dataset.mode === "live";
    const left = this.#left >= 2 ? `about ${this.#left.toFixed(0)} s to go` : null;
    const pace = playing && !this.tab.whole ? played(playhead.speed) : null;
    const how = left ?? (pace && "played " + pace);
    const seconds = this.#ms.reduce((a, b) => a + b, 0) / 1000;
    const done = this.#ms.length && (this.state === "running" ? `${latest} of ${this.player.steps} steps computed`
      : `computed in ${seconds.toFixed(seconds < 10 ? 1 : 0)} s`);
    this.put("pace", live ? [done, how].filter(Boolean).join(", ") : "");
  }

  // -------------------------------------------------------------- words
  words(h) {
    const { coarse } = h, change = coarse
      && `coarse until t = ${coarse.until} (${coarse.resolution}² → ${h.resolution}²)`;
    return (this.tab?.words?.(h) ?? [h.prior + " prior", change || h.resolution + "²",
      h.steps + " steps", h.sampler, "seed " + h.seed]).join(" · ");
  }
  labels() {
    const h = this.player.head, { mode, state } = this.root.dataset;
    if (state === "waiting") return;
    if (!h) return this.put("mode", "no run");
    const live = mode === "live";
    this.put("mode", live ? "live on " + deviceName(h.device) : "prerecorded");
    this.put("score", h.scoreLabel ?? "");
    this.put("what", this.words(h) + (state === "stopped" ? " · stopped" : ""));
    this.player.$("what").title = this.words(h); // for when the text is cut off
    this.put("device", deviceName(h.device) + (live ? "" : ", when recorded"));
    const only = h.levels?.length === 1 ? " only" : "";
    if (h.levels) this.put("checkpoint", h.checkpoint === null ? "none (exact)"
      : `${h.checkpoint}, trained at ${h.levels.join(" → ")}${only}, from the ${h.source}`);
  }
}
