// A little help with the DOM.
export function make(tag, parent, name = "", words = "") { // an element at the end of another
  const e = document.createElement(tag);
  e.className = name;
  e.textContent = words;
  parent.append(e);
  return e;
}
export const sheet = (width, height = width) => // a canvas that is not in the page
  Object.assign(document.createElement("canvas"), { width, height });
// Text in which ⏮ is drawn as an icon, as on the player's button: few fonts have the character.
const ICON = '<svg viewBox="0 0 24 24" role="img" aria-label="to the start" class="md-inline-icon">'
  + '<path d="M6 5h2v14H6zM20 5v14L9 12z"/></svg>';
export function write(element, words) {
  if (element.dataset.words === words) return;
  element.dataset.words = words;
  element.replaceChildren();
  words.split("⏮").forEach((part, i) => {
    if (i) element.insertAdjacentHTML("beforeend", ICON);
    element.append(part);
  });
}
