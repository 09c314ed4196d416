// The step of a run that is shown, and how it advances in playback; independent of the page.
const HOLD = 1800; // milliseconds for which the end is shown before playback restarts
const EARLY = 2; // milliseconds: a refresh may come slightly early, the next one is far too late

export class Playhead {
  current = 0; latest = 0; over = false; playing = false; played = false;
  speed = 5; loop = true; // steps a second
  #clock = 0; #target = null; #whole = false;

  // A new run plays from step 0. target: a step to stop at as soon as it has been computed. whole:
  // a step includes all steps before it, so the newest is shown, and in the end the last one stays.
  begin({ target = null, whole = false } = {}) {
    Object.assign(this, { current: 0, latest: 0, over: false, played: false });
    this.#target = target;
    this.#whole = whole;
    this.playing = target === null && !whole;
    this.#clock = performance.now();
  }
  arrived(step) { // everything up to this step has been computed
    this.latest = Math.max(this.latest, step);
    if (this.#whole || (this.#target !== null && this.#target <= this.latest))
      this.#stand(this.#whole ? this.latest : this.#target);
  }
  end() { // nothing more will come
    this.over = true;
    this.playing &&= this.latest > 0;
    if (this.#target !== null) this.#stand(Math.min(this.#target, this.latest));
    this.#see();
  }
  #stand(step) {
    this.current = step;
    if (!this.#whole) this.#target = null;
    this.#see();
  }
  #see() { this.played ||= this.over && this.current >= this.latest; }

  play(on) {
    this.#target = null;
    this.#whole = false;
    if (on && this.over && this.current >= this.latest) this.current = 0;
    this.playing = on;
    this.#clock = performance.now();
  }
  go(step) {
    this.play(false);
    this.current = Math.max(0, Math.min(this.latest, step));
    this.#see();
  }
  set pace(speed) {
    this.speed = speed;
    this.#clock = performance.now();
  }
  advance(now) { // waits for more at the last step so far; holds at the last step of the run
    const there = this.current >= this.latest;
    if (there && !this.over) return;
    this.#see();
    if (there && !this.loop) { this.playing = false; return; }
    const pause = there ? HOLD : 1000 / this.speed;
    if (now - this.#clock < pause - EARLY) return;
    this.#clock = now - this.#clock > 2 * pause ? now : this.#clock + pause;
    this.current = there ? 0 : this.current + 1;
    this.#see();
  }
}
