// <run-frontier>: reward against the distance from the reference, KL or √KL, live. Each batch is a dot; the line goes
// through the means of stretches of steps. Where gold falls while the score still rises, the score is being gamed.

import { QUIET, layoutOf, saved, tableOf } from "./curve_plot.js";
import { GOLD, KL, SCORE, frontier, frontierCsv, sayFrontier, stretches, thinned } from "./curves.js";
import { say, sayCount } from "./run_lines.js";
import { colour } from "./theme.js";

const DOTS = 1000;
const STRETCHES = 12; // at most, each of five batches or more
const TABLE_ROWS = 200;
const AXES = {
  root: { title: "√KL to the reference", word: "√KL" },
  kl: { title: "KL to the reference (nat)", word: "KL" },
};
const LINES = [
  { name: "score", label: "score", series: 1 },
  { name: "gold", label: "gold score", series: 2 },
];

const CARD = `
  <header>
    <h3 title="How much reward the policy has gained for how far it has moved. The score should grow like √KL; where gold turns down, the score is over-optimised.">Reward against KL</h3>
    <div class="legend"></div>
    <div class="segments" role="group" aria-label="Horizontal axis of the frontier">
      <button type="button" class="small" data-x="root">√KL</button>
      <button type="button" class="small" data-x="kl">KL</button>
    </div>
    <details class="menu">
      <summary class="button quiet small" title="More about this chart">⋯<span class="visually-hidden">Menu of this chart</span></summary>
      <div class="menu-body">
        <button type="button" data-do="table" aria-pressed="false">Show as a table</button>
        <button type="button" data-do="png">Save as PNG</button>
        <button type="button" data-do="csv">Save all points as CSV</button>
      </div>
    </details>
  </header>
  <div class="plot" tabindex="0" role="img" aria-label="Reward against KL: nothing is drawn yet."><div class="canvas"></div><p class="waiting">Loading…</p></div>
  <div class="table" tabindex="0" role="region" aria-label="Reward against KL, as a table" hidden></div>
  <footer><span class="note"></span></footer>`;

export class RunFrontier extends HTMLElement {
  seen = false;
  panel = { title: "Reward against KL √KL frontier" };
  lines = [{ name: SCORE }, { name: GOLD }, { name: KL }];
  #plotted = false;

  // `points(name)`: a series' points, or undefined.
  prepare({ run, points, turns }) {
    Object.assign(this, { run, points, turns });
    this.options = { x: "root", table: false, ...JSON.parse(localStorage.getItem("kibitz:frontier") ?? "{}") };
    return this;
  }

  connectedCallback() {
    this.classList.add("chart-card", "frontier", "several");
    this.id = "chart-frontier";
    if (!this.childElementCount) {
      this.innerHTML = CARD;
      this.plot = this.querySelector(".plot");
      this.canvas = this.querySelector(".canvas");
      this.addEventListener("click", ({ target }) => this.#pressed(target.closest("button")?.dataset ?? {}));
    }
    this.#wearOptions();
    this.watcher = new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      if (this.seen) this.turns.ask(this);
    }, { rootMargin: "300px" });
    this.watcher.observe(this);
    this.sizer = new ResizeObserver(() => this.turns.ask(this));
    this.sizer.observe(this.plot);
  }

  disconnectedCallback() {
    this.watcher.disconnect();
    this.sizer.disconnect();
    this.turns.forget(this);
    this.seen = false;
  }

  change() {}

  forget() {
    this.turns.ask(this);
  }

  unzoom() {
    if (this.#plotted) Plotly.relayout(this.canvas, { "xaxis.autorange": true, "yaxis.autorange": true });
  }

  get rows() {
    return frontier(new Map([SCORE, GOLD, KL].map((name) => [name, this.points(name)])));
  }

  draw() {
    if (!window.Plotly || !this.plot.clientWidth) return;
    const rows = this.rows;
    const waiting = this.querySelector(".waiting");
    waiting.hidden = rows.length > 0;
    waiting.textContent = "No points yet.";
    this.plot.setAttribute("aria-label", `Reward against KL. ${sayFrontier(rows)} The menu has a table.`);
    if (!rows.length) return;
    const { x } = this.options;
    const [dots, way] = [thinned(rows, DOTS), stretches(rows, Math.max(2, Math.min(STRETCHES, Math.floor(rows.length / 5))))];
    const each = Math.round(rows.length / way.length);
    // Before the drawing, whose height depends on how many lines this takes.
    this.querySelector(".note").textContent = `a dot a batch · line: means of ${each === 1 ? "each batch" : `about ${sayCount(each)} batches`}, the last one filled`;
    const lines = LINES.filter(({ name }) => rows.some((row) => row[name] !== null));
    const traces = lines.flatMap(({ name, label, series }) => {
      const ink = colour(`series-${series}`);
      const at = (found) => ({ x: found.map((row) => row[x]), y: found.map((row) => row[name]) });
      return [
        { type: "scatter", mode: "markers", name: label, ...at(dots), marker: { color: ink, size: 4, opacity: 0.3 }, hoverinfo: "skip" },
        { type: "scatter", mode: "lines+markers", name: `${label}, mean`, ...at(way), line: { color: ink, width: 1.8 }, marker: { color: ink, size: 6, symbol: way.map((_, i) => (i === way.length - 1 ? "circle" : "circle-open")) }, hoverinfo: "skip" },
      ];
    });
    Plotly.react(this.canvas, traces, layoutOf(this.plot, { x: AXES[x].title, y: lines.length > 1 ? "score, gold score" : "score" }), QUIET);
    this.#plotted = true;
    this.#writeLegend(lines, rows.at(-1));
    if (this.options.table) this.#writeTable(rows);
  }

  #writeLegend(lines, last) {
    this.querySelector(".legend").replaceChildren(...lines.map(({ name, label, series }) => {
      const item = document.createElement("span");
      item.className = "line";
      item.style.setProperty("--ink", `var(--series-${series})`);
      item.innerHTML = `<i aria-hidden="true"></i><span class="name"></span><output class="value number"></output>`;
      item.querySelector(".name").textContent = label;
      item.querySelector(".value").textContent = say(last[name], 3);
      return item;
    }));
  }

  #writeTable(rows) {
    const newest = rows.slice(-TABLE_ROWS).reverse();
    const column = (title, of) => ({ title, values: newest.map(of) });
    const gold = rows.some((row) => row.gold !== null) ? [column("gold score", ({ gold }) => say(gold))] : [];
    const caption = `Reward against KL, newest first${rows.length > TABLE_ROWS ? `, ${TABLE_ROWS} of ${sayCount(rows.length)} rows; the CSV has all` : ""}`;
    this.querySelector(".table").replaceChildren(
      tableOf(caption, [column("step", ({ step }) => sayCount(step)), column("KL", ({ kl }) => say(kl)), column("√KL", ({ root }) => say(root)), column("score", ({ score }) => say(score)), ...gold]),
    );
  }

  #pressed({ x, do: what }) {
    if (x) this.#set({ x });
    if (!what) return;
    this.querySelector(".menu").open = false;
    if (what === "table") this.#set({ table: !this.options.table });
    else if (what === "png") Plotly.downloadImage(this.canvas, { format: "png", scale: 2, filename: `run-${this.run}-frontier` });
    else saved(frontierCsv(this.rows), "text/csv", `run-${this.run}-frontier.csv`);
  }

  #set(change) {
    Object.assign(this.options, change);
    localStorage.setItem("kibitz:frontier", JSON.stringify(this.options));
    this.#wearOptions();
    this.turns.ask(this);
  }

  #wearOptions() {
    for (const button of this.querySelectorAll("[data-x]")) button.setAttribute("aria-pressed", button.dataset.x === this.options.x);
    this.querySelector("[data-do=table]").setAttribute("aria-pressed", this.options.table);
    this.querySelector(".table").hidden = !this.options.table;
  }
}

customElements.define("run-frontier", RunFrontier);
