// The page's address: what its query says, and how it is changed.
export const GLOBAL = ["present", "hide", "lesson", "__theme", "__lang"]; // the page's, not a tab's
export const query = () => new URLSearchParams(location.search);
export const written = (parameters) => "?" + parameters.toString().replaceAll("%2C", ",");

const framed = () => document.referrer.startsWith("https://huggingface.co/"); // by a Space's page
export const replace = (search) => go(search, "replaceState");
export const push = (search) => go(search, "pushState"); // browser Back leads to the one before
function go(search, how) {
  if (search === location.search) return;
  history[how](history.state, "", search + location.hash);
  if (framed())
    window.parent.postMessage({ queryString: search.slice(1) }, "https://huggingface.co");
}
export function keep(name, value) { // what belongs to the page and not to a tab, such as its lesson
  const now = query();
  if (value === null) now.delete(name);
  else now.set(name, value);
  replace(written(now));
}
export function visible() { // what a visitor sees above the page; only a Space's hands its query on
  const space = window.gradio_config?.space_id;
  return framed() && space ? `https://huggingface.co/spaces/${space}` : location.href;
}
