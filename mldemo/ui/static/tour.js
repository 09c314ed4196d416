// The tour: from one element of the first tab to the next, with the explanation of each.
import { place } from "./explain.js";
import { show, shown, tabOf, thawed } from "./tabs.js";

const STOPS = [ // the element that is pointed at, and a text in place of its own explanation
  ["#tab-watch figure:has(.md-x)"], ["#tab-watch figure:has(.md-x0)"],
  ["#tab-watch .md-bar", "The playhead. Pictures and charts stand at the same step; play, pause or drag it, in your browser alone. Space and the arrow keys do the same."],
  ["#tab-watch figure:has(.md-s)"], ["#tab-watch figure:has(.md-map)"],
  ["#watch-n"], ["#watch-prior"], ["#watch-seed-row"],
  ["button[data-tab-id=learn]", "Questions about what you have seen: guess, try, read the answer."],
];
const box = document.createElement("div");
Object.assign(box, { className: "md-player md-why-box md-tour-box", popover: "manual", tabIndex: -1 });
for (const [name, value] of Object.entries({ role: "dialog", "aria-label": "Tour" })) box.setAttribute(name, value);
box.innerHTML = `<p class="md-tour-words" aria-live="polite"></p><p class="md-tour-steps"><span></span>
  <button type="button" value="-1">Back</button><button type="button" value="1">Next</button>
  <button type="button" value="0">End</button></p>`;
document.body.append(box);
const [back, next] = box.querySelectorAll("button");
let stops = [], at = 0, from = null;

async function begin(button) {
  from = button;
  await thawed; // if pressed before gradio has loaded, the tour begins afterwards
  if (shown() !== "watch") show("watch");
  const player = () => tabOf("watch").runner?.root; // gradio's own player gives way to this one
  for (let there = false; !player()?.closest("#tab-watch")?.offsetParent;) {
    there ||= shown() === "watch";
    if (there && shown() !== "watch") return; // left again before it appeared
    await new Promise(requestAnimationFrame);
  }
  const found = STOPS.map(([selector, words]) => [document.querySelector(selector), words]);
  stops = found.filter(([e]) => e?.offsetParent || e?.getClientRects().length);
  go(0);
}
function go(to) {
  stops[at]?.[0].classList.remove("md-toured");
  at = to;
  if (!stops[at]) return end();
  const [target, words] = stops[at];
  box.querySelector(".md-tour-words").textContent = words ?? target.querySelector(".md-why")?.dataset.why ?? "";
  box.querySelector("span").textContent = `${at + 1} of ${stops.length}`;
  back.disabled = at === 0;
  next.textContent = at + 1 < stops.length ? "Next" : "Done";
  target.classList.add("md-toured");
  target.scrollIntoView({ block: "nearest" });
  box.showPopover();
  place(box, target);
  next.focus();
}
function end() {
  for (const [target] of stops) target.classList.remove("md-toured");
  box.hidePopover();
  stops = [];
  from?.focus();
}
box.addEventListener("click", (event) => {
  const by = event.target.closest("button")?.value;
  if (by !== undefined) Number(by) ? go(at + Number(by)) : end();
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && stops.length) end(); });
document.addEventListener("click", (event) => {
  if (stops.length && event.target.closest?.("button[role=tab]")) { from = null; end(); }
  const button = event.target.closest?.(".md-tour");
  if (button) begin(button);
});
