// Learn: a question, a guess, a control to move, the answer; one step at a time.
import { keep, query } from "../../static/address.js";
import { shown } from "../../static/tabs.js";
import { Card } from "../../static/card.js";
import { follow } from "../../static/guide.js";
import { address, fill, load, observe, tabTitle, wanted } from "../../static/lessons.js";
import { maker } from "./maker.js";
import { Chart, around } from "../../static/chart.js";
import { write } from "../../static/dom.js";

export function create({ root, player }) {
  const $ = (name) => root.querySelector(".md-" + name), lesson = (name) => $("lesson-" + name);
  let panel = null;
  const chart = player.add(new Chart($("growth"), {
    layout: () => {
      const { data, levels_shown: levels } = player.head;
      if (!panel) return null;
      const points = (values) => levels.map((n, i) => [n, values[i]]);
      return {
        x: [levels[0], 1.1 * levels.at(-1)], y: around([data.lipschitz, data.along_noise], 14), logX: true,
        logY: true, label: panel.label,
        curves: [
          { points: points(data.lipschitz), ink: "one", width: 3, name: panel.lipschitz },
          { points: points(data.along_noise), ink: "two", dash: [9, 5], width: 2.6, name: panel.alongNoise },
        ],
      };
    },
  }));
  function verdict() {
    const h = player.head;
    if (!panel || !h) return;
    const round = (v) => String(Number(v.toFixed(2)));
    const [coarse, fine] = h.levels_shown.slice(-2), same = (100 * h.same).toFixed(1);
    const values = { a: round(h.a), cm: round(h.cm), lip: round(h.lip), coarse, fine, same };
    $("verdict").textContent = `${fill(panel.regimes[h.regime], values)} ${fill(panel.agreement, values)}`;
    $("verdict").classList.toggle("md-fails", h.regime === "nowhere");
    root.dataset.regime = h.regime;
  }
  load().then((all) => {
    ({ panel } = all.text);
    $("growth").setAttribute("aria-label", panel.alt);
    lesson("heading").textContent = panel.heading;
    verdict();
    chart.begin();
    player.redraw(true);
    course(root, all, $, lesson);
    return follow();
  }).catch((error) => {
    lesson("note").textContent = String(error.message ?? error);
    lesson("note").hidden = false;
  });
  return { begin: verdict, words: (h) => [`s = ${h.s}`, `a = ${h.a}`, `t = ${h.time}`] };
}

function course(root, all, $, lesson) {
  const { steps, text: { words, steps: texts }, progress } = all;
  const known = steps.map((s) => s.id).join(", "), named = query().get("lesson");
  let current = wanted(steps) ?? steps.find((s) => !progress.of(s.id).open) ?? steps[0];
  const note = [];
  if (named !== null && !wanted(steps)) note.push(fill(words.unknown, { name: named.slice(0, 40), known }));
  if (!progress.lasting) note.push(words.unkept);
  const tell = (...more) => {
    lesson("note").textContent = [...note, ...more].join(" ").trim();
    lesson("note").hidden = !lesson("note").textContent;
  };
  tell();

  // -------------------------------------------------------------- once
  const say = { title: words.title, intro: words.intro, back: words.back, over: words.over };
  for (const [name, value] of Object.entries(say)) lesson(name).textContent = value;
  root.querySelector(".md-lesson-try h4").textContent = words.try;
  lesson("nav").parentElement.setAttribute("aria-label", words.steps);
  lesson("nav").lastElementChild.replaceChildren(...steps.map((step) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.dataset.step = step.id;
    button.textContent = texts[step.id].title;
    button.addEventListener("click", () => go(step));
    item.append(button);
    return item;
  }));
  maker($("maker"), { steps, texts, words });

  // -------------------------------------------------------------- a step
  const card = new Card(root, all, { tell, chosen(step) {
    keep("lesson", step.id); // tells the other tabs which step is being tried
    const next = lesson("open").hidden ? $("reveal") : lesson("open");
    next.focus({ preventScroll: true });
    lesson("try").scrollIntoView({ block: "nearest" });
  } });
  function open() { // everything in a step that does not depend on the viewer's progress
    const i = steps.indexOf(current);
    lesson("count").textContent = fill(words.step, { i: i + 1, n: steps.length });
    lesson("name").textContent = texts[current.id].title;
    write(lesson("task"), texts[current.id].try);
    lesson("open").href = address(current);
    lesson("open").textContent = fill(words.open, { tab: tabTitle(current.tab) });
    lesson("open").hidden = current.tab === "learn";
    lesson("back").disabled = i === 0;
    lesson("next").textContent = words.next;
    lesson("next").hidden = i + 1 === steps.length;
    root.dataset.lesson = current.id;
    card.show(current);
    update();
  }
  function update() { // everything that does
    const { guess, tried = false } = progress.of(current.id), guessed = guess !== undefined;
    card.update();
    lesson("try").hidden = !guessed;
    lesson("seen").textContent = tried ? words.seen : words.waiting;
    lesson("seen").classList.toggle("md-done", tried);
    const live = guessed && current.tab === "learn";
    lesson("panel").hidden = !live;
    root.closest(".md-row")?.classList.toggle("md-lesson-plain", !live);
    for (const button of lesson("nav").querySelectorAll("button")) {
      const step = button.dataset.step, done = progress.of(step).open === true;
      button.classList.toggle("md-done", done);
      button.setAttribute("aria-label", texts[step].title + (done ? ", " + words.done : ""));
      if (step === current.id) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    }
    lesson("over").hidden = !steps.some((s) => progress.of(s.id).guess !== undefined);
    lesson("intro").textContent = steps.every((s) => progress.of(s.id).open) ? words.finished : words.intro;
  }
  function go(step) {
    current = step;
    keep("lesson", step.id);
    open();
    lesson("nav").open = false;
    lesson("name").focus();
    lesson("name").scrollIntoView({ block: "nearest" });
  }
  lesson("back").addEventListener("click", () => go(steps[steps.indexOf(current) - 1]));
  lesson("next").addEventListener("click", () => go(steps[steps.indexOf(current) + 1]));
  lesson("over").addEventListener("click", () => { progress.clear(); go(steps[0]); });
  progress.onChange(update);
  open();
  observe(() => { // only the last step is tried here; the others have the bar
    const asked = shown() === "learn" && wanted(steps); // the bar may have moved on a step
    if (asked && asked !== current) go(asked);
    const { guess, tried } = progress.of(current.id);
    if (current.tab !== "learn" || shown() !== "learn" || guess === undefined || tried) return undefined;
    current.done = () => progress.set(current.id, { tried: true });
    return current;
  });
}
