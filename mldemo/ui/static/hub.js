// What the tabs share: the values of their controls, the URL, which tab is shown.
import { Runner } from "./runner.js";

const tabs = new Map(); // id -> {spec, values, runner, fresh: run when it is mounted, notes}
const GLOBAL = ["present", "hide", "lesson", "__theme", "__lang"];
let active = null, frozen = true;

const tabOf = (id) => tabs.get(id) ?? tabs.set(id, { values: {}, view: {}, notes: [] }).get(id);
const named = (spec, list) => Object.fromEntries(spec.fields.map((f, i) => [f.name, list[i]]));
export const text = (value) => (Array.isArray(value) ? value.join(".") : String(value ?? ""));

function read(field, raw) { // the value that a text in the URL stands for; undefined if none
  if (field.least !== undefined) {
    const list = raw.split("."), known = list.every((v) => field.values.includes(v));
    const size = new Set(list).size;
    return known && size === list.length && size >= field.least && size <= field.most ? list
      : undefined;
  }
  if (field.values) return field.values.find((v) => String(v) === raw);
  const value = /^-?[0-9.]+(e-?[0-9]+)?$/.test(raw) ? Number(raw) : NaN;
  if (!(value >= field.low && value <= field.high)) return undefined;
  return field.whole && !Number.isInteger(value) ? undefined : value;
}
function allowed(f) {
  return f.values ? "one of " + f.values.join(", ") : "from " + f.low + " to " + f.high;
}

export function fromUrl(specs) { // gradio calls this once, with every control as output
  const query = new URLSearchParams(location.search);
  const ids = specs.map((s) => s.tab), out = [];
  const wanted = query.get("tab") ?? (query.has("lesson") && ids.includes("learn") ? "learn" : null);
  active = ids.includes(wanted) ? wanted : ids[0];
  for (const spec of specs) {
    const tab = tabOf(spec.tab);
    tab.fields = spec.fields;
    tab.title = spec.title;
    for (const field of spec.fields) {
      let value = field.default;
      if (spec.tab === active && query.has(field.name)) {
        const found = read(field, query.get(field.name));
        if (found === undefined)
          tab.notes.push(`The link asks for ${field.name}=${query.get(field.name).slice(0, 40)}, `
            + `which must be ${allowed(field)}; ${text(field.default)} is used.`);
        else { value = found; tab.fresh = true; }
      }
      tab.values[field.name] = value;
      out.push(value);
    }
    const names = new Set([...spec.fields.map((f) => f.name), ...GLOBAL, "tab"]);
    if (spec.tab === active)
      for (const [key, value] of query) if (!names.has(key)) tab.view[key] = value.slice(0, 1600);
  }
  if (wanted !== null && wanted !== active)
    tabOf(active).notes.push(`The link asks for tab=${wanted.slice(0, 40)}, which must be one of `
      + ids.join(", ") + ".");
  dress(query);
  frozen = false;
  if (active !== ids[0]) show(active);
  ready(tabOf(active));
  if (query.has("lesson")) import("./guide.js").then((guide) => guide.follow());
  return out;
}

function dress(query) { // lecturer mode: large type, chosen parts hidden
  if (query.get("present") === "1") {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL("present.css", import.meta.url).href;
    document.head.append(sheet);
  }
  const parts = (query.get("hide") ?? "").split(",").filter((t) => /^[a-z0-9-]{1,40}$/.test(t));
  if (!parts.length) return;
  const ids = [...tabs.keys()];
  const rules = parts.flatMap((t) => [`#${CSS.escape(t)}`, `[data-hide~="${t}"]`,
    `button[data-tab-id="${t}"]`, ...ids.flatMap((id) => [`#${id}-${t}`, `#${id}-${t}-row`])]);
  const style = document.createElement("style");
  style.textContent = rules.join(",") + "{display:none !important}";
  document.head.append(style);
}
export function show(id, tries = 40) { // press gradio's own button, as soon as it is there
  const button = document.querySelector(`button[role=tab][data-tab-id="${CSS.escape(id)}"]`);
  if (button) {
    button.scrollIntoView({ block: "nearest", inline: "nearest" });
    return button.click();
  }
  if (tries) setTimeout(show, 50, id, tries - 1);
}
function ready(tab) {
  if (!tab.runner || frozen) return;
  if (!tab.opened) {
    tab.opened = true;
    if (tab.fresh || tab.spec.eager) tab.runner.start(tab.values);
    else tab.runner.opening();
  }
  if (tab.notes.length) tab.runner.alert(tab.notes.splice(0).join(" "));
}

let soon = 0;
function write() { clearTimeout(soon); soon = setTimeout(writeNow, 150); } // browsers limit this
function search() {
  const now = new URLSearchParams(location.search), out = new URLSearchParams();
  const tab = tabOf(active);
  out.set("tab", active);
  for (const f of tab.fields ?? [])
    if (text(tab.values[f.name]) !== text(f.default)) out.set(f.name, text(tab.values[f.name]));
  for (const [key, value] of Object.entries(tab.view)) out.set(key, value);
  for (const key of GLOBAL) if (now.has(key)) out.set(key, now.get(key));
  return "?" + out.toString().replaceAll("%2C", ",");
}
function writeNow() {
  if (!frozen && active) replace(search());
}
function replace(query) {
  if (query === location.search) return;
  history.replaceState(history.state, "", query + location.hash);
  if (framed())
    window.parent.postMessage({ queryString: query.slice(1) }, "https://huggingface.co");
}
export function keep(name, value) { // what belongs to the page and not to a tab, such as its lesson
  const query = new URLSearchParams(location.search);
  if (value === null) query.delete(name);
  else query.set(name, value);
  replace("?" + query.toString().replaceAll("%2C", ","));
}
export const shown = () => active;
export const now = () => [...tabs].filter(([, tab]) => tab.fields)
  .map(([id, { title, fields, values }]) => ({ id, title, fields, values }));
const framed = () => document.referrer.startsWith("https://huggingface.co/"); // by a Space's page
function address() { // what a visitor sees above the page; only a Space's hands its query on to us
  const space = window.gradio_config?.space_id;
  return framed() && space ? `https://huggingface.co/spaces/${space}` : location.href;
}
export function link(every = false) { // every: with defaults too, so that it outlives them
  const url = new URL(address()), tab = tabOf(active);
  url.search = search();
  if (every)
    for (const f of tab.fields ?? []) url.searchParams.set(f.name, text(tab.values[f.name]));
  return url.href;
}

// ---------------------------------------------------------------- gradio's events
export function changed(id, list) {
  const tab = tabOf(id);
  if (!tab.spec || frozen) return [];
  const values = named(tab.spec, list);
  if (tab.spec.fields.every((f) => text(values[f.name]) === text(tab.values[f.name]))) return [];
  tab.values = values;
  if (id === active) write();
  tab.runner?.changed(values);
  return [];
}
export function start(id, list) {
  const tab = tabOf(id);
  if (!tab.spec) return [];
  tab.values = named(tab.spec, list);
  tab.runner.start(tab.values);
  if (id === active) write();
  return [];
}
export function stop(id) {
  tabOf(id).runner?.stop();
  return [];
}
export function select(id) {
  if (frozen || id === active) return [];
  tabs.get(active)?.runner?.leave();
  active = id;
  write();
  ready(tabOf(id));
  return [];
}

// ---------------------------------------------------------------- a tab appears
export async function mount(element, spec) {
  const root = element.querySelector(".md-player"), tab = tabOf(spec.tab);
  await (tab.made ??= make(tab, root, spec));
  if (tab.runner.root !== root) { // the page opened with it: it goes on playing, in its place
    root.replaceWith(tab.runner.root);
    document.querySelector("#md-opening").remove();
  }
  if (spec.tab === active || frozen) ready(tab);
}
export async function open(element, spec) { // before gradio is there, and nothing was asked for
  const tab = tabOf(spec.tab), root = element.querySelector(".md-player");
  active = spec.tab;
  tab.fields = spec.fields;
  for (const f of spec.fields) tab.values[f.name] = f.default;
  await (tab.made = make(tab, root, spec));
  if (tab.opened) return;
  tab.opened = true;
  tab.runner.opening();
}
async function make(tab, root, spec) {
  const module = await import(`../tabs/${spec.tab}/${spec.tab}.js`);
  tab.spec = spec;
  const view = {
    get: (name) => tab.view[name],
    set: (name, value) => { // null: the default, which needs no mention
      if (value === null) delete tab.view[name];
      else tab.view[name] = String(value);
      if (spec.tab === active) write();
    },
  };
  tab.runner = new Runner(root, spec, module, view, link);
}
