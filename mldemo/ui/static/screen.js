// Measures how much of the screen is left for a player: from where players begin down to what
// covers the bottom of the screen. `screen.css` fits the pictures into it.
const page = document.documentElement, sizes = new ResizeObserver(measure);
const visible = (selector) => [...document.querySelectorAll(selector)].find((e) => e.offsetHeight);

function measure() {
  const player = visible(".md-player:has(> .md-screen)");
  if (player) put("--md-top", player.getBoundingClientRect().top + scrollY);
  const bar = visible(".md-guide"), controls = visible(".md-controls");
  const sheet = controls && getComputedStyle(controls).position === "fixed" ? controls : null;
  if (controls && !sheet) {
    const { left, width, bottom } = controls.getBoundingClientRect();
    for (const [name, value] of Object.entries({ left, width, end: bottom + 8 })) put(`--md-column-${name}`, value);
  }
  page.classList.toggle("md-sheet", Boolean(sheet?.classList.contains("md-open")));
  put("--md-bar", bar?.offsetHeight ?? 0);
  put("--md-below", (bar?.offsetHeight ?? 0) + (sheet?.offsetHeight ?? 0));
}
function put(name, pixels) {
  const value = `${Math.round(pixels)}px`;
  if (page.style.getPropertyValue(name) !== value) page.style.setProperty(name, value);
}
export function attend(element) { sizes.observe(element); } // an element that may cover the bottom

attend(document.body);
addEventListener("resize", measure);
