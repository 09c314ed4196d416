// The lessons: their texts, what they wait for, and the progress that this browser remembers.
import { carried, query, written } from "./address.js";
import { write as asWord } from "./pin.js";
import { link, now, shown } from "./tabs.js";

const KEY = "mldemo-lessons", EVERY = 350;
export async function fetched(name) { // a file beside this one
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw Error(`The lessons did not load (${answer.status}); reload the page.`);
  return answer;
}
const json = async (name) => (await fetched(name)).json();

let loading = null;
export const load = () => (loading ??= read().catch((error) => { loading = null; throw error; }));
async function read() {
  const { languages, steps } = await json("lessons.json");
  const preferred = [query().get("__lang"), navigator.language?.slice(0, 2), languages[0]];
  const text = await json(`lessons.${preferred.find((w) => languages.includes(w))}.json`);
  // values of the placeholders in the texts: see opening.py
  const facts = JSON.parse(document.querySelector('meta[name="md-facts"]')?.content ?? "{}");
  return { steps, text, facts, progress: new Progress(steps) };
}
export const fill = (words, values) => words.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
// the step that the URL names, by its id or its number
export function wanted(steps, name = query().get("lesson")) {
  return steps.find((s, i) => s.id === name || String(i + 1) === name);
}
export function address(step) { // where a step is tried, with the page's own settings
  const out = new URLSearchParams(`tab=${step.tab}&${step.query}&lesson=${step.id}`);
  if (step.pin) out.set("pin", asWord(Object.fromEntries(new URLSearchParams(step.query))));
  return written(carried(out));
}
export const tabTitle = (id) => now().find((tab) => tab.id === id)?.title ?? id;

// ---------------------------------------------------------------- what was done
function fits(condition, text) {
  if (text === undefined || text === null) return false;
  if (Array.isArray(condition)) return condition.includes(text);
  if (condition.starts !== undefined) return text.startsWith(condition.starts);
  const value = Number(text);
  return value >= (condition.least ?? -Infinity) && value <= (condition.most ?? Infinity);
}
const all = (conditions, get) =>
  Object.entries(conditions ?? {}).every(([name, condition]) => fits(condition, get(name)));
function met({ tab, data, values }) {
  const root = document.querySelector(`#tab-${tab} .md-player`);
  if (shown() !== tab || !root) return false;
  const query = new URL(link(true)).searchParams;
  return all(data, (name) => root.dataset[name]) && all(values, (name) => query.get(name));
}
// Twice in a row: between a change and the run that it starts, the old run still looks finished.
export function observe(tick) {
  let last = null, held = 0;
  return setInterval(() => {
    const step = tick();
    held = step && step === last && met(step.until) ? held + 1 : 0;
    last = step;
    if (held === 2) step.done();
  }, EVERY);
}

// ---------------------------------------------------------------- what is remembered
class Progress { // id -> {guess: number, tried: bool, open: bool}
  #kept = {}; #told = new Set(); lasting = true;
  constructor(steps) {
    this.steps = steps;
    this.#read();
    window.addEventListener("storage", (event) => {
      if (event.key === KEY || event.key === null) { this.#read(); this.#tell(); }
    });
  }
  #read() {
    let found = {};
    try { // storage may be forbidden, or hold anything
      found = JSON.parse(localStorage.getItem(KEY) ?? "{}") ?? {};
    } catch (error) {
      this.lasting = error instanceof SyntaxError;
    }
    this.#kept = {};
    for (const { id } of this.steps) {
      const { guess, tried, open } = found[id] ?? {};
      if (![0, 1, 2].includes(guess)) continue;
      this.#kept[id] = { guess, tried: tried === true, open: open === true };
    }
  }
  #tell() { for (const tell of this.#told) tell(); }
  onChange(tell) { this.#told.add(tell); }
  of(id) { return this.#kept[id] ?? {}; }
  set(id, change) {
    this.#kept[id] = { ...this.of(id), ...change };
    this.#write();
  }
  clear() {
    this.#kept = {};
    this.#write();
  }
  #write() {
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#kept));
    } catch {
      this.lasting = false;
    }
    this.#tell();
  }
}
