// Explanations of terms. Each button `.md-why` shows the text in its data-why while it is pointed
// at or focused, and after a press until the next one. An element with `data-term`, a key of the
// list in terms.py, gets such a button: a heading, a reading, a group of controls; `data-more` is
// added to its text.
const terms = JSON.parse(document.querySelector('meta[name="md-terms"]')?.content ?? "{}");
const AWAY = 200; // ms in which the pointer may cross from the button to its words
const box = document.createElement("div");
Object.assign(box, { id: "md-why-box", className: "md-player md-why-box", popover: "manual" });
box.setAttribute("role", "tooltip");
document.body.append(box);
let from = null, held = false, later = 0;

export function explain(root) { // adds a "?" to each term: after the words in bold, or at the end
  for (const host of root.querySelectorAll("[data-term]")) {
    const title = host.querySelector("b"), { name, term, more } = host.dataset;
    if (host.querySelector(".md-why")) continue;
    const button = why(host, name ?? host.getAttribute("aria-label") ?? (title ?? host).textContent.trim(),
      [terms[term], more].filter(Boolean).join(" "));
    title?.after(button);
  }
}
export function why(parent, name, words) { // adds a "?" at the end of a label
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "md-why", textContent: "" });
  button.dataset.why = words;
  button.setAttribute("aria-label", `What is this: ${name}`);
  parent.append(button);
  return button;
}
function say(button) {
  clearTimeout(later);
  if (from === button) return;
  hush();
  from = button;
  box.textContent = button.dataset.why;
  button.setAttribute("aria-describedby", box.id);
  box.showPopover();
  place(box, button);
}
export function place(box, target) { // below the target, or above it if there is more room
  const at = target.getBoundingClientRect(), { offsetWidth: wide, offsetHeight: high } = box;
  const below = at.bottom + high + 8 <= innerHeight || at.top < innerHeight - at.bottom;
  const top = below ? at.bottom + 6 : at.top - high - 6;
  box.style.left = `${Math.max(8, Math.min(at.left - 12, document.documentElement.clientWidth - wide - 8))}px`;
  box.style.top = `${Math.max(8, Math.min(top, innerHeight - high - 8))}px`;
}
function hush() {
  clearTimeout(later);
  from?.removeAttribute("aria-describedby");
  from = null;
  held = false;
  box.hidePopover();
}
const soon = () => { clearTimeout(later); if (!held) later = setTimeout(hush, AWAY); };
const asked = (event) => event.target.closest?.(".md-why");

document.addEventListener("pointerover", (event) => {
  if (box.contains(event.target)) return clearTimeout(later);
  const button = asked(event);
  if (button && event.pointerType === "mouse" && !held) say(button);
  else if (from) soon();
});
document.addEventListener("focusin", (event) => {
  const button = asked(event);
  if (button?.matches(":focus-visible")) say(button);
});
document.addEventListener("focusout", (event) => { if (asked(event) === from) hush(); });
document.addEventListener("click", (event) => {
  const button = asked(event);
  if (!button) { if (from && !box.contains(event.target)) hush(); return; }
  event.preventDefault(); // the button may be inside a label
  if (held && from === button) return hush();
  say(button);
  held = true;
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && from) hush(); });
addEventListener("scroll", () => { if (from) place(box, from); }, { passive: true, capture: true });
