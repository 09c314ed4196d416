// A tab's column of controls: each is explained, the lesser ones are collapsed, and on narrow
// screens the column is a sheet.
import { why } from "./explain.js";
import { attend } from "./screen.js";

export function mount(element, { tab, why: words, lesser }) {
  const column = element.closest(".md-controls"), more = element.querySelector(".md-more");
  const folding = (button, name) => button.addEventListener("click", () => {
    const open = column.classList.toggle(name);
    button.setAttribute("aria-expanded", open);
  });
  more.hidden = !lesser;
  folding(more, "md-all");
  sheet(column, folding);
  attend(column);
  explain(column, tab, new Map(Object.entries(words)));
}
function sheet(column, folding) { // on narrow screens, a button opens what is below Start
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "md-handle", textContent: "Controls" });
  button.setAttribute("aria-expanded", false);
  column.firstElementChild.append(button);
  folding(button, "md-open");
  button.addEventListener("click", () => {
    if (column.classList.contains("md-open")) afterLayout(() => screenOf(column).scrollIntoView());
  });
}
const screenOf = (column) => { // what the controls act on
  const row = column.closest(".md-row");
  return row.querySelector(".md-lesson-panel:not([hidden])") ?? row;
};
// the sheet is measured at the end of this frame, and the pictures then make room for it
const afterLayout = (act) => requestAnimationFrame(() => requestAnimationFrame(act));
function explain(column, tab, words) { // gradio mounts one control after the other
  const look = () => {
    for (const [name, text] of words) {
      const label = column.querySelector(`#${CSS.escape(`${tab}-${name}`)} [data-testid="block-info"]`);
      if (!label) continue;
      why(label, label.textContent.trim(), text);
      words.delete(name);
    }
    if (!words.size) seeing.disconnect();
  };
  const seeing = new MutationObserver(look);
  seeing.observe(column, { childList: true, subtree: true });
  look();
}
