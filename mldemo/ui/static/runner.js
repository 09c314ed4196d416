// Between a tab's controls and its player: starts and ends runs, says what is shown, exports it.
import { Player, still } from "./player.js";
import { records } from "./stream.js";
import { save } from "./export.js";
import { text } from "./fields.js";

const LIVE = new URL("../../live/", import.meta.url);
const deviceName = (device) => (device === "cpu" ? "CPU" : `GPU (${device})`);

async function toClipboard(element) { // whether it is there; if not, it is marked for the visitor
  try { // a frame of another site may forbid it, and asking all the same is an error in its log
    if (document.featurePolicy?.allowsFeature("clipboard-write") ?? true) {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    }
  } catch { /* refused: the old way */ }
  getSelection().selectAllChildren(element);
  return document.execCommand("copy");
}

export class Runner {
  #run = null; #count = 0; #arrived = [0, 0, 0]; #later = 0; #ms = [];

  constructor(root, spec, module, view, link) {
    Object.assign(this, { root, spec, view, link });
    this.player = new Player(root, view);
    this.tab = module.create({ root, player: this.player, spec, view, runner: this });
    this.values = Object.fromEntries(spec.fields.map((f) => [f.name, f.default]));
    this.#exports();
  }
  put(name, words) { this.player.put(name, words); }
  alert(words) {
    const box = this.player.$("alert");
    box.textContent = words;
    box.hidden = !words;
  }
  set state(state) {
    this.player.state = state;
    this.root.dataset.state = state;
    this.labels();
  }

  // -------------------------------------------------------------- runs
  opening() { // nobody has asked for anything: show what is recorded, if something is
    const { recording } = this.spec.props;
    if (recording) return this.#play(new URL(recording, import.meta.url), "prerecorded");
    this.tab.idle?.();
    if (!this.tab.idle) this.put("mode", "press Start");
  }
  start(values) {
    this.values = values;
    const url = new URL(this.spec.tab, LIVE);
    for (const f of this.spec.fields) url.searchParams.set(f.name, text(values[f.name]));
    this.tab.ask?.(url.searchParams); // what the tab's script sends beside the fields
    this.put("mode", "starting …");
    return this.#play(url, "live");
  }
  changed(values) { // the picture follows the controls
    this.values = values;
    this.tab.changed?.(values);
    clearTimeout(this.#later);
    this.#later = setTimeout(() => this.start(values), this.spec.eager ? 30 : 200);
  }
  stop() {
    clearTimeout(this.#later);
    this.#run?.abort();
  }
  leave() { if (this.player.playing) this.player.play(false); }

  async #play(url, mode) {
    this.stop();
    const control = new AbortController(), id = `${mode}-${(this.#count += 1)}`;
    this.#run = control;
    this.alert("");
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
      if (error.name === "AbortError") this.state = this.player.state === "running" ? "stopped" : "idle";
      else this.#failed(mode === "live" ? String(error.message ?? error)
        : "There is no recording here. Press Start to compute one live.");
    } finally {
      if (this.#run === control) this.#run = null;
    }
  }
  #failed(words) {
    this.alert(words);
    this.state = this.player.state === "running" ? "stopped" : "failed";
  }
  #receive(record, mode, id) {
    if (record.kind === "line")
      return this.put("mode", `waiting: ${record.place} ${record.place > 1 ? "runs" : "run"} in line`);
    if (record.kind === "error") return this.#failed(record.text);
    if (record.kind === "head") {
      if (!record.track) {
        this.#arrived = [0, 0, 0];
        this.#ms = [];
        Object.assign(this.root.dataset, { mode, run: id });
      }
      this.player.begin(record);
      this.tab.begin?.(record);
      if (this.player.state !== "running") this.state = "running";
    } else if (record.kind === "frame") {
      this.#timed(record);
      this.player.push(record);
    } else if (record.kind === "end") this.#finish(mode);
    else this.tab.record?.(record);
  }
  #timed(frame) {
    const a = this.#arrived, now = performance.now();
    if (!a[2]) a[0] = now;
    a[1] = now;
    a[2] += 1;
    if (frame.ms !== undefined && frame.step < this.player.steps) this.#ms.push(frame.ms);
    if (a[2] % 8 === 0) this.#speeds();
  }
  #speeds() {
    const [first, last, count] = this.#arrived, live = this.root.dataset.mode === "live";
    const ms = [...this.#ms].sort((a, b) => a - b)[this.#ms.length >> 1]; // the median
    if (ms !== undefined) this.put("ms", ms.toFixed(ms < 10 ? 1 : 0) + " ms");
    this.put("fps", live && count > 1 ? ((count - 1) * 1000 / (last - first)).toFixed(0) : "–");
  }
  #finish(mode) {
    this.state = "finished";
    this.#speeds();
    const { player } = this, wish = Number(this.view.get("step") ?? NaN);
    if (Number.isInteger(wish) && wish >= 0) player.go(Math.min(wish, player.latest));
    else if (mode === "prerecorded") {
      player.current = player.latest;
      if (still.matches) player.redraw();
      else player.play(true);
    }
    player.say(true);
  }
  labels() {
    const h = this.player.head, { mode, state } = this.root.dataset;
    if (state === "waiting" || !h) return;
    const live = mode === "live";
    this.put("mode", live ? "live on " + deviceName(h.device) : "prerecorded");
    this.put("score", h.scoreLabel ?? "");
    const words = this.tab.words?.(h) ?? [h.prior + " prior", h.resolution + "²", h.steps + " steps",
      h.sampler, "seed " + h.seed];
    this.put("what", [...words, ...(state === "stopped" ? ["stopped"] : [])].join(" · "));
    this.put("device", deviceName(h.device) + (live ? "" : ", when recorded"));
    const only = h.levels?.length === 1 ? " only" : "";
    this.put("checkpoint", h.checkpoint === null ? "none (exact)"
      : `${h.checkpoint}, trained at ${h.levels?.join(" → ")}${only}, from the ${h.source}`);
  }

  // -------------------------------------------------------------- taking it home
  #exports() {
    const text_ = this.player.$("command"), said = this.player.$("copied");
    const copy = async (words, what) => {
      text_.hidden = false;
      text_.textContent = words;
      said.textContent = (await toClipboard(text_)) ? what + " copied" : "Press Ctrl+C";
    };
    const on = (name, action) => this.player.$(name)?.addEventListener("click", action);
    on("copy-link", () => copy(this.link(true), "Link"));
    on("copy-python", () => this.player.head && copy(this.player.head.python, "Python"));
    on("copy-command", () => this.player.head && copy(this.player.head.command, "Command"));
    const write = async (kind) => {
      if (!this.player.tracks.length) return;
      said.textContent = "Writing …";
      try {
        said.textContent = await save(this.player, kind, this.spec.tab);
      } catch (error) {
        said.textContent = String(error.message ?? error);
      }
    };
    for (const kind of ["png", "gif", "webp"]) on("save-" + kind, () => write(kind));
  }
}
