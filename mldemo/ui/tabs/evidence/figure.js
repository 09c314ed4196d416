// Adapts a study's Plotly figure to this page: its colours, its type, panels in a row or a column.
import { INKS, raised } from "../../static/chart.js";

const ROW = 560; // pixels of width below which panels are in a column

export function dressed(figure, ink, { width, height, shown }) {
  const layout = structuredClone(figure.layout), free = [], size = Math.max(11, Math.min(18, width / 62));
  const data = figure.data.map((trace) => {
    const color = ink[INKS[trace.meta % INKS.length]], error_y = { ...trace.error_y, color };
    return { ...trace, visible: shown(trace.name), line: { ...trace.line, color },
      ...(trace.fill && { fillcolor: color + "38" }), // a translucent band
      marker: { ...trace.marker, color }, error_y: trace.error_y && error_y };
  });
  const suffixes = Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key)).map((key) => key.slice(5));
  const row = width >= ROW || suffixes.length === 1, count = suffixes.length;
  const gap = row ? Math.min(0.2, 90 / width) : Math.min(0.3, 84 / height);
  const whole = [0, 1], part = (i) => {
    const room = (1 - gap * (count - 1)) / count, start = i * (room + gap);
    return [start, Math.min(1, start + room)];
  };
  suffixes.forEach((suffix, i) => {
    const x = layout["xaxis" + suffix], y = layout["yaxis" + suffix], across = row ? part(i) : whole;
    const up = row ? whole : part(count - 1 - i), title = layout.annotations?.[i];
    for (const [name, axis] of [["xaxis", x], ["yaxis", y]]) {
      Object.assign(axis, { gridcolor: ink.grid, linecolor: ink.grid, zerolinecolor: ink.grid, automargin: true });
      if (axis.tickvals) axis.ticktext ??= axis.tickvals.map(String);
      else if (axis.type === "log") free.push(name + suffix);
    }
    x.domain = across;
    y.domain = up;
    if (x.title) x.title = { ...x.title, standoff: 4, font: { size } };
    if (!title) return;
    Object.assign(title, { x: across[0], xanchor: "left", y: up[1], yanchor: "bottom", align: "left" });
    title.font = { ...title.font, size };
  });
  Object.assign(layout, { width, height, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 44, r: 12, t: 1.9 * size, b: 30 },
    font: { family: ink.font, size, color: ink.ink },
    hoverlabel: { bgcolor: ink.gap, bordercolor: ink.ink, font: { family: ink.font, size, color: ink.ink } } });
  return { data, layout, free };
}

// Ticks for the logarithmic axes of a drawn figure to which its study gives none, for
// Plotly.relayout. Plotly's own are digits between powers of ten, in type of two sizes.
export function ticked({ _fullLayout: full }, free) {
  const change = {};
  for (const name of free) {
    const axis = full[name], size = axis.tickfont.size, across = name.startsWith("x");
    const tickvals = ticks(axis.range, axis._length, (text) => (across ? 0.6 * (text.length + 2) : 1.5) * size);
    Object.assign(change, { [`${name}.tickvals`]: tickvals, [`${name}.ticktext`]: labels(tickvals) });
  }
  return change;
}
const digits = ([low, high], leading) => { // 1, 2, 5 and the like in every decade
  const out = [];
  for (let d = Math.floor(low); d <= high; d += 1)
    for (const digit of leading) out.push(Number(`${digit}e${d}`));
  return out;
};
const powers = ([low, high], step) => { // of ten, every so many
  const out = [];
  for (let d = step * Math.ceil(low / step); d <= high; d += step) out.push(Number(`1e${d}`));
  return out;
};
function even([low, high]) { // three or more at equal distances, in a small part of a decade
  const [a, b] = [10 ** low, 10 ** high], d = Math.floor(Math.log10((b - a) / 3));
  const step = [5, 2, 1].find((digit) => Number(`${digit}e${d}`) <= (b - a) / 3), out = [];
  for (let k = Math.ceil(a / step / 10 ** d); k * step * 10 ** d <= b; k += 1) out.push(Number(`${k * step}e${d}`));
  return out;
}
// As many as there is room for, at least three if that can be; `range` is of exponents.
function ticks(range, room, need) {
  const [low, high] = range, every = Math.max(1, Math.ceil(high - low));
  const all = [every > 3 ? [] : digits(range, [1, 2, 5]), ...Array.from({ length: every }, (_, i) => powers(range, i + 1)),
    digits(range, [1, 2, 3, 4, 5, 6, 7, 8, 9]), every > 1 ? [] : even(range)];
  const sets = all.map((set) => set.filter((v) => Math.log10(v) >= low && Math.log10(v) <= high));
  const fit = sets.filter((set) => {
    const texts = labels(set), at = set.map((v) => (room * Math.log10(v)) / (high - low));
    return at.every((x, i) => !i || x - at[i - 1] >= (need(texts[i - 1]) + need(texts[i])) / 2);
  });
  return fit.find((set) => set.length > 2) ?? fit.sort((a, b) => b.length - a.length)[0] ?? [];
}
function labels(values) { // all as decimals, or all as powers of ten
  if (values.every((v) => v >= 1e-3 && v < 1e5)) return values.map(String);
  return values.map((v) => {
    const [digit, power] = v.toExponential().split("e");
    return (digit === "1" ? "" : `${digit}·`) + raised(Number(power));
  });
}
