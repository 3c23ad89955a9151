// <report-chart>: curves of a run's report. Their numbers are beside it as a table, which is there without script too.

import { QUIET, layoutOf } from "./curve_plot.js";
import { tracesOf } from "./curves.js";
import { colour, onThemeChange } from "./theme.js";

export class ReportChart extends HTMLElement {
  connectedCallback() {
    this.chart ??= JSON.parse(this.querySelector("script").textContent);
    this.canvas ??= this.appendChild(Object.assign(document.createElement("div"), { className: "canvas" }));
    this.sizer = new ResizeObserver(() => this.draw());
    this.sizer.observe(this);
    document.querySelector("#plotly")?.addEventListener("load", () => this.draw(), { once: true });
  }

  disconnectedCallback() {
    this.sizer.disconnect();
  }

  draw() {
    if (!window.Plotly || !this.isConnected || !this.clientWidth) return;
    const { curves, x_label: x, y_label: y, log, diagonal } = this.chart;
    const traces = tracesOf(curves, (i) => colour(`series-${i + 1}`));
    const ticks = log ? [...new Set(curves.flatMap((curve) => curve.x))] : null;
    Plotly.react(this.canvas, traces, layoutOf(this, { x, y, ticks, diagonal }), QUIET);
  }
}

customElements.define("report-chart", ReportChart);
onThemeChange(() => {
  for (const chart of document.querySelectorAll("report-chart")) chart.draw();
});
