// Connects gradio to the page's own scripts: tabs appear, controls change, buttons are pressed.
import { Runner } from "./runner.js";
import { GLOBAL, query as current } from "./address.js";
import { explain } from "./explain.js";
import { dress } from "./lecture.js";
import { allowed, read, text } from "./fields.js";
import { choose, ids, isFrozen, link, pressed, settling, show, shown, tabOf, thaw, thawed, turn, write } from "./tabs.js";

const LONGEST = 4000; // of a value that a tab keeps in the link: two drawings, one in a pinned run
const named = (fields, list) => Object.fromEntries(fields.map((f, i) => [f.name, list[i]]));

// The current options of controls whose options change while the page is served: see opening.py.
const offered = JSON.parse(document.querySelector('meta[name="md-choices"]')?.content ?? "{}");

export async function fromUrl(specs) { // gradio calls this once, with every control as output
  const aspects = await Promise.all(specs.flatMap(({ tab, aspects }) => aspects.map(async (aspect) =>
    [tab, aspect.facts, await import(`../tabs/${tab}/${aspect.name}.js`)])));
  const query = current(), known = specs.map((s) => s.tab), out = [];
  const lessons = query.has("lesson") && known.includes("learn") ? "learn" : null;
  const wanted = query.get("tab") ?? lessons, active = known.includes(wanted) ? wanted : known[0];
  choose(active);
  for (const spec of specs) {
    const tab = tabOf(spec.tab);
    tab.fields = spec.fields.map((field) => ({ ...field, ...offered[spec.tab]?.[field.name] }));
    tab.title = spec.title;
    for (const field of tab.fields) {
      let value = field.default;
      if (spec.tab === active && query.has(field.name)) {
        const found = read(field, query.get(field.name));
        if (found === undefined)
          tab.notes.push(`The link asks for ${field.name}=${query.get(field.name).slice(0, 40)}, `
            + `which must be ${allowed(field)}; ${text(field.default)} is used.`);
        else { value = found; tab.fresh = true; } // fresh: run when it is mounted
      }
      tab.values[field.name] = value;
      out.push(offered[spec.tab]?.[field.name] ? { __type__: "update", value, // gradio's format
        choices: field.labels.map((label, i) => [label, field.values[i]]) } : value);
    }
    const names = new Set([...spec.fields.map((f) => f.name), ...GLOBAL, "tab"]);
    if (spec.tab === active)
      for (const [key, value] of query) if (!names.has(key)) tab.view[key] = value.slice(0, LONGEST);
  }
  if (wanted !== null && wanted !== active)
    tabOf(active).notes.push(`The link asks for tab=${wanted.slice(0, 40)}, which must be one of `
      + known.join(", ") + ".");
  dress(query, ids());
  thaw();
  const chosen = pressed(); // by the visitor, while the link was still being read
  if (chosen && chosen !== known[0]) turn(chosen);
  else if (active !== known[0]) show(active);
  ready(tabOf(shown()));
  if (query.has("lesson")) import("./guide.js").then((guide) => guide.follow()).catch(console.warn);
  return [...out, ...aspects.map(([id, facts, aspect]) => aspect.shown(facts, tabOf(id).values))];
}
function ready(tab) {
  if (!tab.runner || isFrozen() || tab.opened) return;
  tab.opened = true;
  tab.runner.note = tab.notes.join(" ");
  const { alone, eager } = tab.spec;
  if (tab.fresh || eager || (tab.moved && !alone)) tab.runner.start(tab.values);
  else tab.runner.opening();
}

// ---------------------------------------------------------------- gradio's events
export function changed(id, list) {
  const tab = tabOf(id);
  if (isFrozen()) return [];
  const values = named(tab.fields, list);
  if (tab.fields.every((f) => text(values[f.name]) === text(tab.values[f.name]))) return [];
  tab.values = values;
  tab.moved = true;
  if (id === shown()) write();
  tab.runner?.changed(values);
  return [];
}
export function start(id, list) {
  const tab = tabOf(id);
  if (tab.fields) tab.values = named(tab.fields, list);
  tab.fresh = true; // in case its script has not loaded yet
  if (tab.runner) {
    tab.opened = true;
    tab.runner.start(tab.values);
  }
  if (id === shown()) write();
  return [];
}
export function stop(id) {
  const tab = tabOf(id);
  tab.fresh = tab.moved = false;
  tab.runner?.stop();
  return [];
}
export function select() { // an event may come late, and gradio sends one by itself when it starts
  const id = pressed();
  if (isFrozen() || settling() || id === shown()) return [];
  turn(id);
  ready(tabOf(id));
  return [];
}

// ---------------------------------------------------------------- a tab appears
export async function mount(element, spec) {
  const root = element.querySelector(".md-player"), tab = tabOf(spec.tab);
  await thawed; // a tab's scripts read the link when they are created
  await (tab.made ??= make(tab, root, spec));
  if (tab.runner.root !== root) { // the page opened with this player: move it here, still playing
    root.replaceWith(tab.runner.root);
    document.querySelector("#md-opening")?.remove();
  }
  if (spec.tab === shown()) ready(tab);
}
export async function open(element, spec) { // before gradio loads, if the link asks for nothing
  const tab = tabOf(spec.tab), root = element.querySelector(".md-player");
  choose(spec.tab);
  tab.fields = spec.fields;
  for (const f of spec.fields) tab.values[f.name] = f.default;
  await (tab.made = make(tab, root, spec));
  if (tab.opened || tab.fresh || !isFrozen()) return; // then `ready` starts it
  tab.opened = true;
  tab.runner.opening();
}
async function make(tab, root, spec) {
  const module = await import(`../tabs/${spec.tab}/${spec.tab}.js`);
  tab.spec = spec;
  const view = {
    get: (name) => tab.view[name],
    set: (name, value) => { // null: the default, which is left out
      if ((tab.view[name] ?? null) === (value === null ? null : String(value))) return;
      if (value === null) delete tab.view[name];
      else tab.view[name] = String(value);
      if (spec.tab === shown()) write();
    },
  };
  tab.runner = new Runner(root, spec, module, view, link);
  explain(root);
}
