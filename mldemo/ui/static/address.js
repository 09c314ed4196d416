// Reads and changes the query of the page's address.
export const GLOBAL = ["present", "hide", "lesson", "__theme", "__lang"]; // the page's, not a tab's
export const query = () => new URLSearchParams(location.search);
export const written = (parameters) => "?" + parameters.toString().replaceAll("%2C", ",");

export function carried(parameters) { // with how this page is shown, but not its lesson
  for (const name of GLOBAL)
    if (name !== "lesson" && query().has(name)) parameters.set(name, query().get(name));
  return parameters;
}

const framed = () => document.referrer.startsWith("https://huggingface.co/"); // in a Space's page
export const replace = (search) => go(search, "replaceState");
export const push = (search) => go(search, "pushState"); // browser Back leads to the one before
function go(search, how) {
  if (search === location.search) return;
  history[how](history.state, "", search + location.hash);
  if (framed())
    window.parent.postMessage({ queryString: search.slice(1) }, "https://huggingface.co");
}
export function keep(name, value) { // a parameter of the page and not of a tab, such as the lesson
  const now = query();
  if (value === null) now.delete(name);
  else now.set(name, value);
  replace(written(now));
}
export function visible() { // the address that visitors see; only a Space passes the query on
  const space = window.gradio_config?.space_id;
  return framed() && space ? `https://huggingface.co/spaces/${space}` : location.href;
}
