// Adapts a study's Plotly figure to this page: its colours, its type, panels in a row or a column.
import { INKS } from "../../static/chart.js";

const ROW = 560; // pixels of width below which panels are in a column

export function dressed(figure, ink, { width, height, shown }) {
  const layout = structuredClone(figure.layout), size = Math.max(11, Math.min(18, width / 62));
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
    for (const axis of [x, y])
      Object.assign(axis, { gridcolor: ink.grid, linecolor: ink.grid, zerolinecolor: ink.grid, automargin: true });
    x.domain = across;
    y.domain = up;
    const high = (up[1] - up[0]) * height > 200;
    if (y.type === "log" && decades(data, "y" + suffix) > 1) y.dtick = high ? "D2" : 1;
    if (x.title) x.title = { ...x.title, standoff: 4 };
    if (!title) return;
    Object.assign(title, { x: across[0], xanchor: "left", y: up[1], yanchor: "bottom", align: "left" });
    title.font = { ...title.font, size };
  });
  Object.assign(layout, { width, height, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 44, r: 12, t: 1.9 * size, b: 30 },
    font: { family: ink.font, size, color: ink.ink },
    hoverlabel: { bgcolor: ink.gap, bordercolor: ink.ink, font: { family: ink.font, size, color: ink.ink } } });
  return { data, layout };
}
function decades(data, axis) { // how many the lines on an axis span
  const mine = data.filter((trace) => trace.visible && (trace.yaxis ?? "y") === axis);
  const values = mine.flatMap((trace) => trace.y).filter((v) => v > 0);
  return Math.log10(Math.max(...values) / Math.min(...values));
}
