// The buttons, the slider and the keys of a player.
export function control(player) {
  const { root, view, playhead } = player, $ = (name) => player.$(name);
  const keys = {
    " ": () => player.play(!player.playing),
    ArrowLeft: () => player.go(player.current - 1), ArrowRight: () => player.go(player.current + 1),
    Home: () => player.go(0), End: () => player.go(player.latest),
  };
  document.addEventListener("keydown", (event) => {
    const target = event.target, action = keys[event.key], tag = target.tagName;
    const ours = target === document.body || root.contains(target);
    if (!action || !ours || !root.offsetParent) return;
    if (event.ctrlKey || event.altKey || event.metaKey || target.closest("[data-keys], .md-scroll")) return;
    if (tag === "SELECT" || (tag === "INPUT" && target.type === "number")) return;
    const press = event.key === " " && (tag === "BUTTON" || tag === "SUMMARY"
      || target.type === "checkbox" || target.type === "radio");
    const slide = event.key !== " " && (target.type === "range" || target.type === "radio");
    if (press || slide) return; // the control handles the key itself
    event.preventDefault();
    action();
  });
  player.range.addEventListener("input", () => {
    player.go(Number(player.range.value));
    player.range.value = String(player.current); // no further than what is computed
  });
  const buttons = { first: "Home", back: "ArrowLeft", next: "ArrowRight", play: " " };
  for (const [name, key] of Object.entries(buttons)) $(name).addEventListener("click", keys[key]);

  const speed = $("speed"), loop = $("loop"), smooth = $("smooth");
  const usual = speed.value;
  if ([...speed.options].some((o) => o.value === view.get("speed"))) speed.value = view.get("speed");
  const choose = () => { playhead.pace = Number(speed.value); };
  choose();
  speed.addEventListener("change", () => {
    choose();
    view.set("speed", speed.value === usual ? null : speed.value);
    player.changed();
    player.redraw();
  });
  loop.checked = view.get("loop") !== "0";
  playhead.loop = loop.checked;
  loop.addEventListener("change", () => {
    playhead.loop = loop.checked;
    view.set("loop", loop.checked ? null : 0);
  });
  smooth.checked = view.get("view") === "smooth";
  const soften = () => root.classList.toggle("md-soft-pixels", smooth.checked);
  smooth.addEventListener("change", () => {
    view.set("view", smooth.checked ? "smooth" : null);
    soften();
  });
  soften();
}
// The speed of playback in words, such as "slowly"; null if frames are shown as they come.
export function played(speed) {
  if (speed >= 60) return null; // as they come
  return speed < 3 ? "very slowly" : speed < 10 ? "slowly" : speed < 25 ? "at medium speed" : "fast";
}
