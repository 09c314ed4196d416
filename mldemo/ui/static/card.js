// The part of a lesson's step that both Learn and the guide bar show: question, guess and answer.
import { make } from "./dom.js";
import { fill } from "./lessons.js";

let cards = 0;

export class Card {
  #name = `md-guess-${(cards += 1)}`; #step = null;
  // root: holds `.md-lesson-guess`, `.md-reveal`, `.md-lesson-answer`; tell(words): shows a remark
  constructor(root, { text, progress, facts }, { tell, chosen }) {
    Object.assign(this, { root, texts: text.steps, words: text.words, progress, facts });
    const { words } = this;
    this.$("commit").textContent = words.commit;
    this.$("lesson-guess legend").textContent = words.guess;
    this.$("lesson-answer h4").textContent = words.answer;
    this.$("lesson-result").setAttribute("tabindex", "-1");
    this.$("commit").addEventListener("click", () => {
      const found = this.$("lesson-options input:checked");
      tell(found ? "" : words.choose);
      if (!found) return this.$("lesson-options input").focus();
      progress.set(this.#step.id, { guess: Number(found.value) });
      chosen(this.#step);
    });
    this.$("reveal").addEventListener("click", () => {
      progress.set(this.#step.id, { open: true });
      this.update();
      this.$("lesson-result").focus({ preventScroll: true });
      this.$("lesson-answer").scrollIntoView({ block: "start" });
    });
  }
  $(name) { return this.root.querySelector(".md-" + name); }

  show(step) { // everything that does not depend on the viewer's progress
    if (step === this.#step) return this.update();
    this.#step = step;
    const words = this.texts[step.id], options = this.$("lesson-options");
    this.$("lesson-question").textContent = words.question;
    options.replaceChildren();
    for (const [value, option] of words.options.entries()) {
      const label = make("label", options), radio = make("input", label);
      Object.assign(radio, { type: "radio", name: this.#name, value });
      radio.checked = value === this.progress.of(step.id).guess;
      make("span", label, "", option);
    }
    const text = this.$("lesson-text");
    text.replaceChildren();
    for (const paragraph of words.reveal) make("p", text, "", fill(paragraph, this.facts));
    this.$("lesson-math").innerHTML = step.formula;
    this.$("lesson-formula figcaption").textContent = words.formulaSays;
    this.update();
  }
  update() { // everything that does
    const { guess, tried = false, open = false } = this.progress.of(this.#step.id);
    const { answer } = this.#step, { options } = this.texts[this.#step.id], guessed = guess !== undefined;
    const withdrawn = !guessed && this.root.dataset.guessed === "true"; // by "Start over"
    this.$("lesson-guess").disabled = guessed;
    [...this.$("lesson-options").children].forEach((label, i) => {
      if (guessed || withdrawn) label.firstChild.checked = i === guess;
      label.classList.toggle("md-right", open && i === answer);
      label.classList.toggle("md-missed", open && i === guess && i !== answer);
    });
    this.$("commit").hidden = guessed;
    this.$("reveal").hidden = !guessed || open;
    this.#put("reveal", tried ? this.words.reveal : this.words.skip);
    this.$("lesson-answer").hidden = !open;
    this.#put("lesson-result", !open ? "" : guess === answer ? this.words.right
      : fill(this.words.wrong, { guess: options[guess], answer: options[answer] }));
    Object.assign(this.root.dataset, { guessed, tried, revealed: open });
  }
  #put(name, words) { // a live region announces every change, even to the same text
    if (this.$(name).textContent !== words) this.$(name).textContent = words;
  }
}
