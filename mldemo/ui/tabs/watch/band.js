// The band of frequencies that is shown alone or left out: chosen, or just pointed at.
const NARROW = 2 ** 0.25; // pointing at k selects k / NARROW to k * NARROW: half an octave

export function band({ root, player, view }) {
  const $ = (name) => root.querySelector(".md-band-" + name), low = $("low"), high = $("high");
  const kinds = [...root.querySelectorAll(".md-band-kind input")];
  const chosen = read(view.get("band"));
  let pointed = null; // shown while the pointer stays
  const shown = () => pointed ?? chosen;
  const inside = (k) => k >= shown().low - 0.5 && k < shown().high + 0.5;
  const gain = (k) => Number(shown().kind === "all" || inside(k) === (shown().kind === "only"));
  const words = () => {
    const { kind, low: a, high: b } = shown(), k = a === b ? `|k| = ${a}` : `|k| from ${a} to ${b}`;
    return kind === "all" ? "" : kind === "only" ? `${k} alone` : `without ${k}`;
  };
  function show() {
    $("note").textContent = words() && `Shown: ${words()}; grey is zero.`;
    player.drawn = undefined;
    player.redraw();
  }
  function choose(change) { // by hand
    Object.assign(chosen, change);
    for (const box of kinds) box.checked = box.value === chosen.kind;
    low.value = chosen.low;
    high.value = chosen.high;
    const { kind } = chosen;
    view.set("band", kind === "all" ? null : `${kind}-${chosen.low}-${chosen.high}`);
    show();
  }
  const group = `md-band-${Math.random()}`; // gradio's copy of the page must not share it
  for (const box of kinds) box.name = group;
  for (const box of kinds) box.addEventListener("change", () => choose({ kind: box.value }));
  for (const box of [low, high]) {
    box.addEventListener("change", () => choose({})); // invalid input is discarded
    box.addEventListener("input", () => {
      const [a, b] = [Math.round(low.valueAsNumber), Math.round(high.valueAsNumber)];
      if (!(a >= 0 && b >= a && b <= 128)) return; // still being typed
      choose({ low: a, high: b, kind: chosen.kind === "all" ? "only" : chosen.kind });
    });
  }
  choose({});

  function point(to) {
    if (to?.low === pointed?.low && to?.high === pointed?.high) return;
    pointed = to;
    show();
  }
  // frequency(event): the |k| under the pointer in a chart, a real number, undefined while nothing
  // is drawn; last(): the largest
  function watch(canvas, frequency, last) {
    let from = null, moved = false;
    const shell = (event) => Math.round(Math.max(1, Math.min(last(), frequency(event))));
    const about = (k) => ({ kind: "only", low: Math.round(k / NARROW), high: Math.round(k * NARROW) });
    canvas.addEventListener("pointerdown", (event) => {
      if (frequency(event) === undefined) return;
      from = shell(event);
      moved = false;
      canvas.setPointerCapture(event.pointerId);
      point(about(from));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (frequency(event) === undefined) return;
      const to = shell(event);
      if (from === null) return point(about(to));
      if (to === from && !moved) return;
      moved = true;
      point(null);
      const [a, b] = [Math.min(from, to), Math.max(from, to)];
      choose({ low: a === 1 ? 0 : a, high: b, // the mean lies outside a logarithmic axis
        kind: chosen.kind === "all" ? "only" : chosen.kind });
    });
    const lift = () => {
      if (from !== null && !moved && pointed) choose(pointed); // a click keeps what is pointed at
      from = null;
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", () => { from = null; point(null); });
    canvas.addEventListener("pointerleave", () => point(null));
    canvas.addEventListener("dblclick", () => { point(null); choose({ kind: "all" }); });
  }
  function shade(c, at, fill) { // at(k): where a frequency lies; fill(from, to) paints
    const { kind, low: a, high: b } = shown();
    if (kind === "all") return;
    const ends = [at(a < 1 ? 0 : Math.max(1, a - 0.5)), at(b + 0.5)];
    c.globalAlpha = 0.22;
    c.fillStyle = player.ink.accent;
    if (kind === "only") fill(...ends);
    else { fill(at(0), ends[0]); fill(ends[1], at(Infinity)); }
    c.globalAlpha = 1;
  }
  return { gain, words, watch, shade, get key() { return words(); } };
}

function read(text) {
  const found = /^(only|without)-(\d{1,3})-(\d{1,3})$/.exec(text ?? "");
  if (!found || Number(found[2]) > Number(found[3])) return { kind: "all", low: 0, high: 3 };
  return { kind: found[1], low: Number(found[2]), high: Number(found[3]) };
}
