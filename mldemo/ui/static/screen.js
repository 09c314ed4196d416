// How much of the screen is left for a player: from where players begin down to what covers its
// foot. `screen.css` fits the pictures into it.
const page = document.documentElement;

function measure() {
  const player = [...document.querySelectorAll(".md-player:has(> .md-screen)")].find((e) => e.offsetParent);
  if (player) put("--md-top", player.getBoundingClientRect().top + scrollY);
  const foot = document.querySelector(".md-guide:not([hidden])");
  put("--md-below", foot ? foot.offsetHeight : 0);
}
function put(name, pixels) {
  const value = `${Math.round(pixels)}px`;
  if (page.style.getPropertyValue(name) !== value) page.style.setProperty(name, value);
}
const sizes = new ResizeObserver(measure);
sizes.observe(document.body);
new MutationObserver(() => { // the bar of a lesson comes later
  const guide = document.querySelector(".md-guide");
  if (guide) sizes.observe(guide);
  measure();
}).observe(document.body, { childList: true });
addEventListener("resize", measure);
measure();
