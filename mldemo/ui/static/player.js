// One playhead for several panels. It keeps every frame, so that pausing, scrubbing and replaying
// do not involve the server; the contents of the frames are left to the panels.
import { Playhead } from "./playhead.js";
import { control } from "./controls.js";

const SAY_EVERY = 1500;
export const still = window.matchMedia("(prefers-reduced-motion: reduce)");

export class Player {
  heads = []; tracks = []; panels = []; ink = {}; remarks = []; // remarks: () => words for an export
  playhead = new Playhead(); changed = () => {}; // called when the playhead is moved by hand
  #readings = new Map(); #pending = 0; #said = 0; #sayTimer = 0; #counted = 0;

  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.range = this.$("range");
    control(this);
    const repaint = () => { this.#colours(); this.redraw(true); };
    new MutationObserver(repaint).observe(document.body, { attributeFilter: ["class"] });
    this.sizes = new ResizeObserver(() => this.redraw(true));
  }
  $(name) { return this.root.querySelector(".md-" + name); }
  put(name, text) {
    const e = this.$(name);
    if (e && e.textContent !== text) e.textContent = text;
  }

  // -------------------------------------------------------------- panels, readings and frames
  add(panel) { // panel: {canvas, begin?(player), draw(player, resized)}
    this.panels.push(panel);
    if (panel.canvas) this.sizes.observe(panel.canvas);
    return panel;
  }
  reading(name, of, spoken = null) { // of(frame): its words; spoken: what a screen reader calls it
    this.#readings.set(name, { of, spoken });
  }
  begin(head, how = {}) { // the first record of a track; track 0 begins a new run (how: Playhead's)
    const track = head.track ?? 0;
    if (track === 0) {
      this.heads = []; this.tracks = []; this.#counted = 0;
      this.steps = head.steps;
      this.range.max = String(head.steps);
      this.playhead.begin(how);
      this.#state(); // so that no value of the last run is taken for this one's
      this.view.set("step", Number.isFinite(how.target ?? NaN) ? how.target : null);
    }
    this.heads[track] = head;
    this.tracks[track] = [];
    for (const panel of this.panels) panel.begin?.(this);
    this.redraw(true);
  }
  push(frame) {
    const track = this.tracks[frame.track];
    if (!track) return;
    track[frame.step] = frame;
    if (frame.track) this.drawn = undefined; // it may be among the frames shown
    this.#counted += 1;
    this.playhead.arrived(Math.min(...this.tracks.map((t) => t.length - 1)));
    this.redraw();
  }
  end() {
    this.playhead.end();
    this.say(true);
    this.redraw();
  }
  get head() { return this.heads[0]; }
  get current() { return this.playhead.current; }
  get latest() { return this.playhead.latest; }
  get playing() { return this.playhead.playing; }
  frame(track = 0) { // the latest frame of a track up to the playhead
    const frames = this.tracks[track];
    if (!frames) return undefined;
    let i = Math.min(this.current, frames.length - 1);
    while (i > 0 && !frames[i]) i -= 1;
    return frames[i];
  }

  // -------------------------------------------------------------- drawing
  #colours() {
    const style = getComputedStyle(this.root);
    const names = ["x", "prior", "data", "ink", "grid", "gap", "noise", "even", "signal", "accent",
      "one", "two", "three", "four", "five"];
    for (const name of names) this.ink[name] = style.getPropertyValue("--md-" + name).trim();
    this.ink.font = style.fontFamily;
  }
  redraw(resized = false) {
    this.resized ||= resized;
    this.#pending ||= requestAnimationFrame((now) => this.#draw(now));
  }
  #draw(now) {
    this.#pending = 0;
    if (!this.tracks.length || !this.root.offsetParent) return;
    if (this.playing) this.playhead.advance(now);
    if (!this.ink.x) this.#colours();
    const frame = this.frame();
    this.#state(frame);
    if (!frame) return;
    const resized = this.resized;
    this.resized = false;
    if (resized || this.drawn !== frame) {
      for (const panel of this.panels) panel.draw(this, resized);
      this.#facts(frame);
    }
    this.drawn = frame;
    if (this.playing) this.redraw();
  }
  #state(frame) { // the player's state, as data attributes
    const { playing, played } = this.playhead, data = this.root.dataset;
    const now = { frames: String(this.#counted), playing: String(playing), played: String(played) };
    if (!frame) delete data.step;
    else if (this.drawn !== frame) data.step = String(frame.step); // it may be of another run
    for (const [name, value] of Object.entries(now)) if (data[name] !== value) data[name] = value;
    if (this.root.classList.toggle("md-playing", playing) !== this.shownPlaying) {
      this.shownPlaying = playing;
      this.$("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    }
  }
  #facts(frame) {
    this.range.value = String(this.current);
    this.range.setAttribute("aria-valuetext", this.told(frame));
    this.put("step", `${frame.step} of ${this.steps}`);
    for (const [name, { of }] of this.#readings) this.put(name, of(frame));
  }
  told(frame = this.frame()) { // in a sentence
    const spoken = [...this.#readings.values()].filter((r) => r.spoken);
    return [`step ${frame.step} of ${this.steps}`,
      ...spoken.map((r) => `${r.spoken} ${r.of(frame)}`)].join(", ");
  }
  say(now = false) { // for screen readers: what is shown, at most every 1.5 s
    clearTimeout(this.#sayTimer);
    const wait = Math.max(now ? 0 : 250, this.#said + SAY_EVERY - performance.now());
    this.#sayTimer = setTimeout(() => {
      if (!this.frame()) return;
      this.#said = performance.now();
      const words = this.told();
      this.put("say", words[0].toUpperCase() + words.slice(1));
    }, wait);
  }

  // -------------------------------------------------------------- moved by hand
  play(on) {
    if (!this.tracks.length) return;
    this.playhead.play(on);
    if (!on) this.say();
    this.#moved();
  }
  go(step) {
    if (!this.tracks.length) return;
    this.playhead.go(step);
    this.say();
    this.#moved();
  }
  #moved() {
    this.#remember();
    this.changed();
    this.redraw();
  }
  #remember() { // a paused playhead is kept in the link
    this.view.set("step", this.playing || this.current === this.steps ? null : this.current);
  }
}
