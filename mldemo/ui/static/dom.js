// A little help with the DOM.
export function make(tag, parent, name = "", words = "") { // an element at the end of another
  const e = document.createElement(tag);
  e.className = name;
  e.textContent = words;
  parent.append(e);
  return e;
}
