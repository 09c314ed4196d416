// The state of the tabs: the values of their controls, what their scripts keep in the URL, and
// which tab is shown.
import { settled, text } from "./fields.js";
import { GLOBAL, push, query, replace, visible, written } from "./address.js";

const known = new Map(); // id -> {title, fields, values, view, notes, and page.js's own}
let active = null, frozen = true, missed = false; // frozen: the URL is still being read
let read = () => {};
export const thawed = new Promise((resolve) => { read = resolve; }); // once the URL has been read

export const tabOf = (id) =>
  known.get(id) ?? known.set(id, { values: {}, view: {}, notes: [] }).get(id);
export const ids = () => [...known.keys()];
export const shown = () => active;
export const now = () => [...known].filter(([, tab]) => tab.fields)
  .map(([id, { title, fields, values }]) => ({ id, title, fields, values }));
export const isFrozen = () => frozen;
export function thaw() { // what was set by hand meanwhile goes into the URL now
  frozen = false;
  read();
  if (missed) write();
}
export function choose(id) { active = id; }

// Gradio's tab buttons, which appear once gradio has loaded; visitors see the tab whose button is
// pressed.
let showing = null; // the id of a button to be pressed
const pressing = new MutationObserver(press);
export const pressed = () => document.querySelector("button[role=tab][aria-selected=true]")?.dataset.tabId;
export const settling = () => showing !== null && !press();
export function show(id) {
  showing = id;
  if (!press()) pressing.observe(document.body, { childList: true, subtree: true, attributeFilter: ["aria-selected", "data-tab-id"] });
}
function press() { // returns whether it is pressed now
  if (pressed() !== showing) {
    const button = document.querySelector(`button[role=tab][data-tab-id="${CSS.escape(showing)}"]`);
    button?.scrollIntoView({ block: "nearest", inline: "nearest" });
    button?.click();
    if (pressed() !== showing) return false;
  }
  pressing.disconnect();
  showing = null;
  return true;
}

// ---------------------------------------------------------------- the URL follows
let soon = 0;
let ahead = false; // the address is that of another tab, to which history led, until it is shown
export function write() { // delayed, as browsers limit how often
  clearTimeout(soon);
  soon = setTimeout(writeNow, 150);
}
function writeNow() {
  clearTimeout(soon);
  missed = frozen;
  if (!frozen && active && !ahead) replace(search());
}
export function turn(id) { // to another tab: a new history entry, unless history led here
  const made = (query().get("tab") ?? ids()[0]) === id;
  if (!made) writeNow();
  clearTimeout(soon);
  active = id;
  ahead = false;
  if (made) write();
  else push(search());
}
addEventListener("popstate", () => {
  const id = query().get("tab") ?? ids()[0];
  if (frozen || !known.has(id)) return;
  ahead = id !== active;
  if (id !== (showing ?? pressed())) show(id); // `active` may not be set yet
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
export function link(every = false) { // every: with defaults, and the values that the run chose
  const url = new URL(visible()), tab = tabOf(active);
  url.search = search();
  const fields = (every && tab.fields) || [];
  const asked = Object.fromEntries(fields.map((f) => [f.name, text(tab.values[f.name])]));
  const shows = fields.every(({ name }) => tab.runner?.asked[name] === asked[name]); // or an older run
  const found = settled(fields, asked, shows ? tab.runner?.player.head : null);
  for (const [name, value] of Object.entries(found)) url.searchParams.set(name, value);
  return url.href;
}
