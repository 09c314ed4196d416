// One playhead for several panels. It keeps every frame, so that pausing, scrubbing and replaying
// ask the server nothing; it knows nothing of what the frames hold.
const HOLD = 1800, SAY_EVERY = 1500;
export const still = window.matchMedia("(prefers-reduced-motion: reduce)");

export class Player {
  heads = []; tracks = []; panels = []; ink = {};
  current = 0; playing = false; follow = true; state = "idle";
  #pending = 0; #clock = 0; #said = 0; #sayTimer = 0; #counted = 0;

  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.range = this.$("range");
    this.#controls();
    const repaint = () => { this.#colours(); this.redraw(true); };
    new MutationObserver(repaint).observe(document.body, { attributeFilter: ["class"] });
    this.sizes = new ResizeObserver(() => this.redraw(true));
  }
  $(name) { return this.root.querySelector(".md-" + name); }
  put(name, text) {
    const e = this.$(name);
    if (e && e.textContent !== text) e.textContent = text;
  }

  // -------------------------------------------------------------- panels and frames
  add(panel) { // panel: {canvas, begin?(player), draw(player, resized)}
    this.panels.push(panel);
    if (panel.canvas) this.sizes.observe(panel.canvas);
    return panel;
  }
  begin(head) { // the first record of a track; track 0 begins a new run
    const track = head.track ?? 0;
    if (track === 0) {
      this.heads = []; this.tracks = [];
      this.current = 0; this.follow = true; this.playing = false; this.#counted = 0;
      this.steps = head.steps;
      this.range.max = String(head.steps);
    }
    this.heads[track] = head;
    this.tracks[track] = [];
    for (const panel of this.panels) panel.begin?.(this);
    this.redraw(true);
  }
  push(frame) {
    const track = this.tracks[frame.track ?? 0];
    if (!track) return;
    track[frame.step] = frame;
    if (frame.track) this.drawn = undefined; // it may be what is shown, beside track 0's
    this.#counted += 1;
    if (this.follow) this.current = Math.max(this.current, frame.step);
    this.redraw();
  }
  get head() { return this.heads[0]; }
  get latest() { return Math.max(0, ...this.tracks.map((t) => t.length - 1)); }
  frame(track = 0) { // what is known of a track at the playhead
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
      "one", "two", "three", "four"];
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
    if (this.playing) this.#advance(now);
    if (!this.ink.x) this.#colours();
    const frame = this.frame();
    if (!frame) return;
    const resized = this.resized;
    this.resized = false;
    if (resized || this.drawn !== frame) {
      for (const panel of this.panels) panel.draw(this, resized);
      this.#facts(frame);
    }
    this.drawn = frame;
    const data = this.root.dataset;
    data.step = String(frame.step);
    data.frames = String(this.#counted);
    if (this.playing) this.redraw();
  }
  #facts(frame) {
    const d = this.describe(frame);
    this.range.value = String(this.current);
    this.range.setAttribute("aria-valuetext", `step ${d.step}, log signal to noise ${d.snr}`);
    this.put("step", d.step); this.put("time", d.time); this.put("snr", d.snr);
  }
  describe(frame) {
    const value = frame.sigma > 0 ? Math.log(frame.alpha / frame.sigma) : Infinity;
    const snr = value === Infinity ? "+∞" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
    return { snr, step: `${frame.step} of ${this.steps}`, time: (frame.time ?? 0).toFixed(3) };
  }
  say(now = false) { // for screen readers: what is shown, at most every 1.5 s
    clearTimeout(this.#sayTimer);
    const wait = Math.max(now ? 0 : 250, this.#said + SAY_EVERY - performance.now());
    this.#sayTimer = setTimeout(() => {
      const frame = this.frame();
      if (!frame) return;
      const d = this.describe(frame);
      this.#said = performance.now();
      this.put("say", `Step ${d.step}, log signal to noise ${d.snr}`);
    }, wait);
  }

  // -------------------------------------------------------------- playing
  get speed() { return Number(this.$("speed").value); }
  #advance(now) {
    const end = this.latest, pause = this.current === end ? HOLD : 1000 / this.speed;
    if (now - this.#clock < pause) return;
    this.#clock = now - this.#clock > 2 * pause ? now : this.#clock + pause;
    if (this.current < end) this.current += 1;
    else if (this.$("loop").checked) this.current = 0;
    else this.#icon(false);
  }
  #icon(on) {
    this.playing = on;
    this.root.classList.toggle("md-playing", on);
    this.$("play").setAttribute("aria-label", on ? "Pause" : "Play");
  }
  play(on) {
    if (!this.tracks.length) return;
    if (on && this.current >= this.latest) this.current = 0;
    this.#icon(on);
    this.follow = false;
    this.#clock = performance.now();
    if (!on) this.say();
    this.#remember();
    this.redraw();
  }
  go(step) {
    if (!this.tracks.length) return;
    this.current = Math.max(0, Math.min(this.latest, step));
    this.#icon(false);
    this.follow = this.state === "running" && this.current === this.latest;
    this.say();
    this.#remember();
    this.redraw();
  }
  #remember() { // a paused playhead belongs into the link
    this.view.set("step", this.playing || this.current === this.steps ? null : this.current);
  }
  #controls() {
    const keys = {
      " ": () => this.play(!this.playing),
      ArrowLeft: () => this.go(this.current - 1), ArrowRight: () => this.go(this.current + 1),
      Home: () => this.go(0), End: () => this.go(this.latest),
    };
    document.addEventListener("keydown", (event) => {
      const target = event.target, action = keys[event.key], tag = target.tagName;
      const ours = target === document.body || this.root.contains(target);
      if (!action || !ours || !this.root.offsetParent) return;
      if (event.ctrlKey || event.altKey || event.metaKey || target.closest("[data-keys]")) return;
      if (tag === "SELECT" || (tag === "INPUT" && target.type === "number")) return;
      const press = event.key === " " && (tag === "BUTTON" || tag === "SUMMARY"
        || target.type === "checkbox");
      const slide = event.key !== " " && target.type === "range";
      if (press || slide) return; // what the control does by itself is right
      event.preventDefault();
      action();
    });
    this.range.addEventListener("input", () => this.go(Number(this.range.value)));
    this.$("first").addEventListener("click", keys.Home);
    this.$("back").addEventListener("click", keys.ArrowLeft);
    this.$("next").addEventListener("click", keys.ArrowRight);
    this.$("play").addEventListener("click", keys[" "]);
    const { view } = this, speed = this.$("speed"), loop = this.$("loop"), smooth = this.$("smooth");
    if ([...speed.options].some((o) => o.value === view.get("speed"))) speed.value = view.get("speed");
    speed.addEventListener("change", () => {
      this.#clock = performance.now();
      view.set("speed", speed.value === "5" ? null : speed.value);
      this.redraw();
    });
    loop.checked = view.get("loop") !== "0";
    loop.addEventListener("change", () => view.set("loop", loop.checked ? null : 0));
    smooth.checked = view.get("view") === "smooth";
    const soften = () => this.root.classList.toggle("md-soft-pixels", smooth.checked);
    smooth.addEventListener("change", () => {
      view.set("view", smooth.checked ? "smooth" : null);
      soften();
    });
    soften();
  }
}
