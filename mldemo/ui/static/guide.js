// The guide bar, shown while a lesson is tried in another tab: it asks the question, says what to
// do, notices when that is done and gives the answer. Controls that the lesson does not need are
// collapsed.
import { keep } from "./address.js";
import { Card } from "./card.js";
import { write } from "./dom.js";
import { attend } from "./screen.js";
import { now as tabs, show, shown } from "./tabs.js";
import { address, fetched, load, observe, wanted } from "./lessons.js";

let bar = null;
export async function follow() {
  if (bar) return;
  bar = document.createElement("aside");
  const [all, markup] = await Promise.all([load(), fetched("guide.html").then((answer) => answer.text())])
    .catch((error) => { bar = null; throw error; });
  const { steps, text: { words, steps: texts }, progress } = all;
  bar.className = "md-player md-guide";
  bar.setAttribute("aria-label", words.guide);
  bar.innerHTML = markup;
  const $ = (name) => bar.querySelector(".md-guide-" + name);
  const put = (name, value) => { if ($(name).textContent !== value) $(name).textContent = value; };
  const card = new Card(bar, all, { tell: (remark) => put("note", remark), chosen: () => $("said").focus() });
  $("said").setAttribute("aria-label", words.guide);
  put("close", words.close);
  put("load", words.load);
  put("next", words.next);
  put("return", words.return);

  function current() {
    const step = wanted(steps);
    return step && step.tab !== "learn" && shown() !== "learn" ? step : undefined;
  }
  function update() {
    const step = current();
    bar.hidden = !step;
    document.body.classList.toggle("md-guided", Boolean(step));
    document.body.classList.toggle("md-bandless", Boolean(step) && !("band" in (step.until.values ?? {})));
    fold(step);
    if (!step) return undefined;
    const { guess, tried, open } = progress.of(step.id), guessed = guess !== undefined;
    card.show(step);
    put("name", texts[step.id].title);
    write($("task"), guessed && !open ? texts[step.id].try : "");
    put("seen", tried && !open ? words.seen : "");
    $("load").href = address(step);
    $("load").hidden = !guessed || Boolean(tried || open);
    $("next").hidden = !open || step === steps.at(-1);
    $("return").hidden = Boolean(open);
    step.done = () => { progress.set(step.id, { tried: true }); update(); };
    return guessed && !tried ? step : undefined;
  }
  $("return").addEventListener("click", () => { show("learn"); update(); });
  $("next").addEventListener("click", () => {
    keep("lesson", steps[steps.indexOf(current()) + 1].id);
    show("learn");
    update();
  });
  $("close").addEventListener("click", () => { keep("lesson", null); update(); });
  document.body.append(bar);
  attend(bar);
  update();
  progress.onChange(update);
  observe(update);
}
const folding = document.createElement("style");
document.head.append(folding);
function fold(step) { // puts controls that the lesson does not wait for under "More controls"
  const tab = step && tabs().find(({ id }) => id === step.tab);
  const needed = Object.keys(step?.until.values ?? {}), column = `#tab-${step?.tab} .md-controls`;
  const rest = tab?.fields.map((f) => f.name).filter((name) => !needed.includes(name)) ?? [];
  const css = !rest.length ? "" : `${column}:not(.md-all) :is(${rest.map((name) =>
    `#${tab.id}-${name}, #${tab.id}-${name}-row`)}) { display: none !important; }
    ${column} > .md-lesser { display: flex !important; } ${column} .md-more { display: block !important; }`;
  if (folding.textContent !== css) folding.textContent = css;
}
