// How every curve plot looks: bare axes with their titles, the page's type and colours, no tool bar.

import { sayCount } from "./run_lines.js";
import { colour } from "./theme.js";

export const QUIET = { displayModeBar: false, doubleClick: "reset", showTips: false };

// place: the element it is drawn in. axes: { x, y } titles; `ticks`, where given, on a logarithmic x; `diagonal` for the
// line y = x of shares above one half.
export function layoutOf(place, { x, y, ticks = null, diagonal = false }) {
  const grid = colour("chart-grid");
  const common = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: false, nticks: 6 };
  return {
    width: place.clientWidth,
    height: place.clientHeight,
    margin: { l: 58, r: 14, t: 8, b: 40 },
    font: { family: getComputedStyle(place).fontFamily, size: 11, color: colour("text-quiet") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false,
    hovermode: false,
    dragmode: "zoom",
    uirevision: x,
    xaxis: { ...common, title: { text: x, standoff: 6 }, ...(ticks ? { type: "log", tickvals: ticks, ticktext: ticks.map(sayCount) } : {}) },
    yaxis: { ...common, title: { text: y, standoff: 4 } },
    shapes: diagonal
      ? [{ type: "line", x0: 0.5, x1: 1, y0: 0.5, y1: 1, line: { color: colour("line-control"), width: 1, dash: "dot" }, layer: "below" }]
      : [],
  };
}

// A table of these columns ([{ title, values }]), each value as it is said.
export function tableOf(caption, columns) {
  const table = document.createElement("table");
  const row = (tag, texts) => {
    const line = document.createElement("tr");
    for (const text of texts) line.append(Object.assign(document.createElement(tag), { textContent: text, className: "number" }));
    return line;
  };
  table.createCaption().textContent = caption;
  table.createTHead().append(row("th", columns.map(({ title }) => title)));
  const rows = Array.from(columns[0]?.values ?? [], (_, i) => row("td", columns.map(({ values }) => values[i])));
  table.createTBody().append(...rows);
  return table;
}

export function saved(text, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
