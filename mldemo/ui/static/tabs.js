// The tabs as the page knows them: their controls' values, what their scripts keep in the URL, and
// which of them is shown.
import { settled, text } from "./fields.js";
import { GLOBAL, push, query, replace, visible, written } from "./address.js";

const known = new Map(); // id -> {title, fields, values, view, notes, and page.js's own}
let active = null, frozen = true; // frozen: the URL is still being read
let read = () => {};
export const thawed = new Promise((resolve) => { read = resolve; }); // what a tab is made from

export const tabOf = (id) =>
  known.get(id) ?? known.set(id, { values: {}, view: {}, notes: [] }).get(id);
export const ids = () => [...known.keys()];
export const shown = () => active;
export const now = () => [...known].filter(([, tab]) => tab.fields)
  .map(([id, { title, fields, values }]) => ({ id, title, fields, values }));
export const isFrozen = () => frozen;
export function thaw() { frozen = false; read(); }
export function choose(id) { active = id; }

export function show(id, tries = 40) { // press gradio's own button, as soon as it is there
  const button = document.querySelector(`button[role=tab][data-tab-id="${CSS.escape(id)}"]`);
  if (button) {
    button.scrollIntoView({ block: "nearest", inline: "nearest" });
    return button.click();
  }
  if (tries) setTimeout(show, 50, id, tries - 1);
}

// ---------------------------------------------------------------- the URL follows
let soon = 0;
export function write() { // browsers limit how often
  clearTimeout(soon);
  soon = setTimeout(writeNow, 150);
}
function writeNow() {
  clearTimeout(soon);
  if (!frozen && active) replace(search());
}
export function turn(id) { // to another tab: a step in the browser's history, unless it made it
  const made = (query().get("tab") ?? ids()[0]) === id;
  if (!made) writeNow();
  clearTimeout(soon);
  active = id;
  if (made) write();
  else push(search());
}
addEventListener("popstate", () => {
  const id = query().get("tab") ?? ids()[0];
  if (!frozen && id !== active && known.has(id)) show(id);
});
function search() {
  const before = query(), out = new URLSearchParams(), tab = tabOf(active);
  out.set("tab", active);
  for (const f of tab.fields ?? [])
    if (text(tab.values[f.name]) !== text(f.default)) out.set(f.name, text(tab.values[f.name]));
  for (const [key, value] of Object.entries(tab.view)) out.set(key, value);
  for (const key of GLOBAL) if (before.has(key)) out.set(key, before.get(key));
  return written(out);
}
export function link(every = false) { // every: with defaults and what the run took for them
  const url = new URL(visible()), tab = tabOf(active);
  url.search = search();
  const fields = (every && tab.fields) || [];
  const asked = Object.fromEntries(fields.map((f) => [f.name, text(tab.values[f.name])]));
  const found = settled(fields, asked, tab.runner?.player.head);
  for (const [name, value] of Object.entries(found)) url.searchParams.set(name, value);
  return url.href;
}
