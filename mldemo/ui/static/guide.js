// While a lesson is tried in another tab: a bar with the task that notices when it is done.
import { keep } from "./address.js";
import { write } from "./dom.js";
import { attend } from "./screen.js";
import { show, shown } from "./tabs.js";
import { address, load, observe, wanted } from "./lessons.js";

let bar = null;
export async function follow() {
  if (bar) return;
  bar = document.createElement("aside");
  style();
  const { steps, text: { words, steps: texts }, progress } = await load();
  bar.className = "md-player md-guide";
  bar.setAttribute("aria-label", words.guide);
  bar.innerHTML = `<p><b class="md-guide-name"></b> <span class="md-guide-task"></span></p>
    <div><span class="md-guide-seen" role="status"></span>
    <a class="md-guide-load"></a>
    <button type="button" class="md-guide-return"></button>
    <button type="button" class="md-guide-close"></button></div>`;
  const $ = (name) => bar.querySelector(".md-guide-" + name);
  const put = (name, value) => { if ($(name).textContent !== value) $(name).textContent = value; };
  const now = () => {
    const step = wanted(steps);
    return step && step.tab !== "learn" && shown() !== "learn" ? step : undefined;
  };
  const guessed = (step) => progress.of(step.id).guess !== undefined;
  function update() {
    const step = now();
    bar.hidden = !step;
    document.body.classList.toggle("md-guided", Boolean(step));
    if (!step) return undefined;
    const { tried } = progress.of(step.id);
    put("name", texts[step.id].title);
    write($("task"), texts[step.id].try);
    put("seen", tried ? words.seen : "");
    put("return", tried ? words.reveal : words.return);
    put("close", words.close);
    put("load", words.load);
    $("load").href = address(step);
    $("load").hidden = tried;
    const done = () => { progress.set(step.id, { tried: true }); update(); };
    step.done = done;
    return guessed(step) && !tried ? step : undefined;
  }
  $("return").addEventListener("click", () => {
    const step = now();
    if (step && progress.of(step.id).tried) progress.set(step.id, { open: true });
    show("learn");
    update();
  });
  $("close").addEventListener("click", () => { keep("lesson", null); update(); });
  document.body.append(bar);
  attend(bar);
  update();
  observe(update);
}
export function style() { // the lessons' own looks, once
  const href = new URL("learn.css", import.meta.url).href;
  if (document.querySelector(`link[href="${href}"]`)) return;
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = href;
  document.head.append(sheet);
}
