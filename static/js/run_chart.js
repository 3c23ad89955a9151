// <run-chart>: one or a few metrics of a run against the step or the time, drawn by Plotly.
//
// The card is given its `lines`, a `board` (the x axis, the zoom and the cursor that all charts of a page
// share) and a `source` of points and events. It draws when its turn comes (run_turns.js), at most a
// thousand points a line, from raw points that stay in typed arrays: zooming in brings back every one.
// Plotly's own hover is off: the cursor here is a line on every chart at once, and it reads raw values.

import { AXES } from "./run_board.js";
import { Smoothed, csv, envelope, notFinite, say, sayCount, visibleRows } from "./run_lines.js";
import { colour } from "./theme.js";

const DRAWN_POINTS = 1000; // a line at most, and no more than two a pixel
const SMOOTHED_FROM = 50; // a line of fewer rows is shown as it is
const TABLE_ROWS = 200;
const MARGIN = { l: 58, r: 10, t: 8, b: 36 };

const remembered = (key) => JSON.parse(localStorage.getItem(key) ?? "{}");

const CARD = `
  <header>
    <h3></h3>
    <div class="legend"></div>
    <button type="button" class="quiet small wide-toggle" aria-pressed="false" title="Enlarge this chart">⤢<span class="visually-hidden">Enlarge</span></button>
    <details class="menu">
      <summary class="button quiet small" title="More about this chart">⋯<span class="visually-hidden">Menu of this chart</span></summary>
      <div class="menu-body">
        <button type="button" data-do="log" aria-pressed="false">Logarithmic axis</button>
        <button type="button" data-do="outliers" aria-pressed="false">Ignore outliers</button>
        <button type="button" data-do="table" aria-pressed="false">Show as a table</button>
        <button type="button" data-do="pin" aria-pressed="false">Pin to the top</button>
        <button type="button" data-do="png">Save as PNG</button>
        <button type="button" data-do="csv">Save all points as CSV</button>
      </div>
    </details>
  </header>
  <div class="plot" tabindex="0" role="img"><div class="canvas"></div><div class="cursor" hidden></div><p class="waiting">Loading…</p></div>
  <div class="table" hidden></div>
  <footer>
    <label title="Smoothing: an exponential moving average; the raw line stays behind it"><span aria-hidden="true">≈</span> <input type="range" min="0" max="0.99" step="0.01"></label>
    <span class="at number"></span>
    <span class="note"></span>
  </footer>`;

export class RunChart extends HTMLElement {
  seen = false;
  #smoothed = new Map(); // series id -> Smoothed
  #yRange = null;
  #held = false; // a finger is dragging: a redraw would tear the zoom box
  #plotted = false;

  // lines: [{ id, name, label }]; panel: { key, title, help, unit }
  prepare({ panel, lines, board, source, turns }) {
    Object.assign(this, { panel, lines, board, source, turns });
    this.memory = `kibitz:chart:${panel.key}`;
    this.options = { smooth: 0.6, log: false, outliers: false, wide: false, table: false, ...remembered(this.memory) };
    return this;
  }

  connectedCallback() {
    this.classList.add("chart-card");
    if (!this.childElementCount) this.#build();
    this.#listen();
    this.#wearOptions();
    this.#watchView();
  }

  #build() {
    this.innerHTML = CARD;
    this.id = `chart-${this.panel.key.replaceAll(/[^\w]+/g, "-")}`;
    this.#writeTitle();
    this.plot = this.querySelector(".plot");
    this.canvas = this.querySelector(".canvas");
    this.note = this.querySelector(".note");
    this.cursorLine = this.querySelector(".cursor");
    this.slider = this.querySelector("input");
    this.slider.value = this.options.smooth;
    this.slider.setAttribute("aria-label", `Smoothing of ${this.panel.title}`);
    this.plot.setAttribute("aria-label", `${this.panel.title}: nothing is drawn yet.`);
    this.#writeLegend();
  }

  disconnectedCallback() {
    this.watcher.disconnect();
    this.sizer.disconnect();
    this.quit.abort();
    this.turns.forget(this);
    this.#clear();
  }

  #clear() {
    if (this.#plotted) Plotly.purge(this.canvas);
    this.#plotted = false;
    this.seen = false;
  }

  // A companion line was logged for the first time, or the card was pinned.
  change(panel) {
    const names = (lines) => lines.map(({ name }) => name).join();
    const other = names(panel.lines) !== names(this.lines);
    Object.assign(this, { panel, lines: panel.lines });
    this.#wearOptions();
    if (!other) return;
    this.#writeTitle();
    this.#writeLegend();
    this.turns.ask(this);
  }

  // The run began again: what was smoothed is of another history.
  forget() {
    this.#smoothed.clear();
    this.turns.ask(this);
  }

  unzoom() {
    this.#yRange = null;
  }

  draw() {
    if (this.#held || !window.Plotly) return;
    const points = this.lines.map(({ id }) => this.source.points(id)).filter(Boolean);
    const some = points.some(({ size }) => size);
    const waiting = this.querySelector(".waiting");
    waiting.hidden = some;
    waiting.textContent = "No points yet.";
    if (!some || !this.plot.clientWidth) return;
    const { traces, note } = this.#traces();
    this.note.textContent = note;
    this.note.title = note;
    Plotly.react(this.canvas, traces, this.#layout(), { displayModeBar: false, doubleClick: "reset", showTips: false });
    if (!this.#plotted) {
      this.#plotted = true;
      this.canvas.on("plotly_relayout", (change) => this.#zoomed(change));
      this.canvas.on("plotly_doubleclick", () => this.#showWhole());
    }
    this.#writeValues();
    this.#placeCursor();
    if (this.options.table) this.#writeTable();
  }

  // --- what is drawn -------------------------------------------------------------------------

  #traces() {
    const traces = [];
    const notes = [];
    let hidden = 0;
    let bucket = 1;
    const limit = Math.min(DRAWN_POINTS, Math.max(200, 2 * this.plot.clientWidth));
    this.lines.forEach((line, i) => {
      const points = this.source.points(line.id);
      if (!points?.size) return;
      const axis = AXES[this.board.axis];
      const x = axis.value(points);
      const [start, end] = this.board.range
        ? visibleRows(x, points.size, ...this.board.range, points.ordered)
        : [0, points.size];
      const ink = colour(`series-${i + 1}`);
      const smooth = this.options.smooth > 0 && points.size >= SMOOTHED_FROM;
      const drawn = envelope(x, points.value, start, end, limit);
      bucket = Math.max(bucket, drawn.bucket);
      traces.push(this.#trace(drawn, ink, smooth ? 0.28 : 1, smooth ? 1 : 1.6, line.label));
      if (smooth) {
        const value = this.#smooth(line.id).extend(points.value, points.size);
        traces.push(this.#trace(envelope(x, value, start, end, limit), ink, 1, 1.8, line.label));
      }
      const broken = notFinite(points.value, start, end);
      if (broken.length) {
        traces.push(this.#marks(points, x, broken));
        notes.push(`not a number at ${broken.length === 1 ? axis.say(x[broken[0].row], this.board) : `${broken.length} places`}`);
      }
      if (this.options.log) for (let row = start; row < end; row += 1) if (points.value[row] <= 0) hidden += 1;
    });
    if (hidden) notes.unshift(`${sayCount(hidden)} values ≤ 0 have no place on a logarithmic axis`);
    if (bucket > 1) notes.push(`min–max of ${bucket} rows`);
    return { traces, note: notes.join(" · ") };
  }

  #trace(drawn, ink, alpha, width, name) {
    const axis = AXES[this.board.axis];
    return {
      type: "scatter",
      mode: drawn.x.length === 1 ? "markers" : "lines",
      name,
      x: drawn.x.map((x) => axis.shown(x, this.board)),
      y: this.options.log ? drawn.y.map((y) => (y > 0 ? y : null)) : drawn.y,
      line: { color: faded(ink, alpha), width, shape: "linear" },
      marker: { color: ink, size: 6 },
      hoverinfo: "skip",
      connectgaps: false,
    };
  }

  // What is no number stands where the line last was: × for NaN, a triangle that points to its infinity.
  #marks(points, x, broken) {
    const axis = AXES[this.board.axis];
    const height = (row) => {
      for (let at = row; at >= 0; at -= 1) if (Number.isFinite(points.value[at])) return points.value[at];
      for (let at = row; at < points.size; at += 1) if (Number.isFinite(points.value[at])) return points.value[at];
      return 0;
    };
    const symbols = { NaN: "x", "+Inf": "triangle-up", "−Inf": "triangle-down" };
    return {
      type: "scatter",
      mode: "markers",
      name: "not a number",
      x: broken.map(({ row }) => axis.shown(x[row], this.board)),
      y: broken.map(({ row }) => height(row)),
      marker: { symbol: broken.map(({ kind }) => symbols[kind]), size: 9, color: colour("bad") },
      hoverinfo: "skip",
    };
  }

  #layout() {
    const text = colour("text-quiet");
    const grid = colour("chart-grid");
    const axis = AXES[this.board.axis];
    const range = this.board.range?.map((x) => axis.shown(x, this.board));
    const unit = this.board.axis === "elapsed" ? ` (${this.board.unit.name})` : "";
    const yRange = this.#yRange ?? (this.options.outliers ? this.#innerRange() : null);
    const font = { family: getComputedStyle(this).fontFamily, size: 11, color: text };
    const common = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: false, fixedrange: false, nticks: 6 };
    return {
      width: this.plot.clientWidth,
      height: this.plot.clientHeight,
      margin: MARGIN,
      font,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      showlegend: false,
      hovermode: false,
      dragmode: "zoom",
      uirevision: "kept",
      xaxis: {
        ...common,
        title: { text: axis.title + unit, standoff: 6 },
        type: this.board.axis === "clock" ? "date" : "linear",
        nticks: this.plot.clientWidth < 500 ? 5 : 10,
        tickangle: 0,
        ...this.#tickFormat(),
        ...(range ? { range, autorange: false } : { autorange: true }),
      },
      yaxis: {
        ...common,
        title: { text: this.panel.unit || this.panel.title, standoff: 4 },
        type: this.options.log ? "log" : "linear",
        exponentformat: "e",
        ...(yRange ? { range: yRange, autorange: false } : { autorange: true }),
      },
      shapes: this.#eventLines(),
    };
  }

  #tickFormat() {
    if (this.board.axis === "step") return { tickformat: ",d" };
    if (this.board.axis === "elapsed") return {};
    const [first, last] = this.board.range ?? [this.board.start, this.board.newest.time];
    const span = last - first;
    return { tickformat: span < 600 ? "%H:%M:%S" : span < 172_800 ? "%H:%M" : "%-d %b" };
  }

  // The range without the outer hundredth on either side, of the rows in view.
  #innerRange() {
    const values = this.lines.flatMap(({ id }) => {
      const points = this.source.points(id);
      return points ? envelope(points.step, points.value, 0, points.size, 4000).y.filter((y) => y !== null) : [];
    });
    if (values.length < 20) return null;
    values.sort((a, b) => a - b);
    const at = (share) => values[Math.round(share * (values.length - 1))];
    const [low, high] = [at(0.01), at(0.99)];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.06 || 1;
    if (!this.options.log) return [low - room, high + room];
    return high > 0 ? [Math.log10(Math.max(low, high / 1e6)), Math.log10(high)] : null;
  }

  // A checkpoint is a tick at the foot; what a person or a fault did is a line through the chart.
  #eventLines() {
    const axis = AXES[this.board.axis];
    const inks = { bad: colour("bad"), warn: colour("warn"), plain: colour("line-control") };
    return this.source.events().slice(-80).map((event) => {
      const x = axis.shown(this.board.axis === "step" ? event.step : event.time, this.board);
      const tick = event.kind === "checkpoint";
      return {
        type: "line",
        x0: x,
        x1: x,
        yref: "paper",
        y0: 0,
        y1: tick ? 0.05 : 1,
        line: { color: inks[event.tone] ?? inks.plain, width: tick ? 2 : 1, dash: tick ? "solid" : "dot" },
      };
    });
  }

  #smooth(id) {
    if (this.#smoothed.get(id)?.memory !== this.options.smooth) this.#smoothed.set(id, new Smoothed(this.options.smooth));
    return this.#smoothed.get(id);
  }

  // --- zoom and cursor -----------------------------------------------------------------------

  #zoomed(change) {
    const axis = AXES[this.board.axis];
    const raw = axis.raw ?? ((x) => x);
    if ("yaxis.range[0]" in change) this.#yRange = [change["yaxis.range[0]"], change["yaxis.range[1]"]];
    if ("yaxis.autorange" in change) this.#yRange = null;
    if ("xaxis.range[0]" in change) {
      this.board.zoom([raw(change["xaxis.range[0]"], this.board), raw(change["xaxis.range[1]"], this.board)]);
    } else if ("xaxis.autorange" in change) this.board.zoom(null);
  }

  #showWhole() {
    this.unzoom();
    this.board.zoom(null);
  }

  #pixelToX(event) {
    const { xaxis } = this.canvas._fullLayout;
    const left = this.canvas.getBoundingClientRect().left + xaxis._offset;
    const axis = AXES[this.board.axis];
    const shown = xaxis.p2d(event.clientX - left);
    return event.clientX < left || event.clientX > left + xaxis._length ? null : (axis.raw ?? ((x) => x))(shown, this.board);
  }

  #placeCursor() {
    const { cursor } = this.board;
    this.cursorLine.hidden = true;
    if (cursor === null || !this.#plotted) return;
    const { xaxis } = this.canvas._fullLayout;
    const left = xaxis.d2p(AXES[this.board.axis].shown(cursor, this.board));
    if (!(left >= 0 && left <= xaxis._length)) return;
    this.cursorLine.hidden = false;
    this.cursorLine.style.transform = `translateX(${xaxis._offset + left}px)`;
  }

  #nearest(points) {
    const x = AXES[this.board.axis].value(points);
    const [, past] = visibleRows(x, points.size, -Infinity, this.board.cursor, points.ordered);
    const after = Math.min(points.size - 1, Math.max(0, past - 1));
    const before = Math.max(0, after - 1);
    return Math.abs(x[before] - this.board.cursor) <= Math.abs(x[after] - this.board.cursor) ? before : after;
  }

  #step(key) {
    const points = this.source.points(this.lines[0].id);
    if (!points?.size) return;
    const x = AXES[this.board.axis].value(points);
    const at = this.board.cursor === null ? points.size : this.#nearest(points);
    const stride = key.shiftKey ? 10 : 1;
    const to = key.key === "ArrowLeft" ? at - stride : key.key === "ArrowRight" ? at + stride : key.key === "Home" ? 0 : points.size - 1;
    this.board.point(x[Math.min(points.size - 1, Math.max(0, to))]);
  }

  // --- words ---------------------------------------------------------------------------------

  #writeTitle() {
    const title = this.querySelector("h3");
    title.textContent = this.panel.title;
    title.title = this.panel.help;
  }

  #writeLegend() {
    const legend = this.querySelector(".legend");
    legend.replaceChildren(
      ...this.lines.map((line, i) => {
        const item = document.createElement("span");
        item.className = "line";
        item.style.setProperty("--ink", `var(--series-${i + 1})`);
        const name = this.lines.length > 1 ? `<i aria-hidden="true"></i><span class="name"></span>` : "";
        item.innerHTML = `${name}<output class="value number">–</output>`;
        if (name) item.querySelector(".name").textContent = line.label;
        return item;
      }),
    );
    this.classList.toggle("several", this.lines.length > 1);
  }

  #writeValues() {
    const outputs = this.querySelectorAll(".legend .value");
    const said = [];
    let where = "";
    this.lines.forEach((line, i) => {
      const points = this.source.points(line.id);
      if (!points?.size || !outputs[i]) return;
      const row = this.board.cursor === null ? points.size - 1 : this.#nearest(points);
      outputs[i].textContent = say(points.value[row], this.lines.length > 1 ? 3 : 4);
      said.push(`${this.lines.length > 1 ? `${line.label} ` : ""}${say(points.value[row])}`);
      where = AXES[this.board.axis].say(AXES[this.board.axis].value(points)[row], this.board);
    });
    const near = this.board.cursor === null ? null : this.#eventNear();
    this.querySelector(".at").textContent = this.board.cursor === null ? "" : where + (near ? ` · ${near.text}` : "");
    this.plot.setAttribute("aria-label", `${this.panel.title}: ${said.join(", ")} at ${where}. Arrow keys move along the line; the menu has a table.`);
  }

  #eventNear() {
    const { xaxis } = this.canvas._fullLayout ?? {};
    if (!xaxis) return null;
    const axis = AXES[this.board.axis];
    const place = (x) => xaxis.d2p(axis.shown(x, this.board));
    const here = place(this.board.cursor);
    const gap = (event) => Math.abs(place(this.board.axis === "step" ? event.step : event.time) - here);
    const [event] = this.source.events().filter((one) => gap(one) < 6).sort((one, other) => gap(one) - gap(other));
    return event ?? null;
  }

  #writeTable() {
    const rows = this.lines.flatMap((line) => {
      const points = this.source.points(line.id);
      return points ? Array.from({ length: Math.min(points.size, TABLE_ROWS) }, (_, i) => ({ line, points, row: points.size - 1 - i })) : [];
    });
    const body = rows
      .sort((one, other) => other.points.step[other.row] - one.points.step[one.row])
      .slice(0, TABLE_ROWS)
      .map(({ line, points, row }) => {
        const cells = document.createElement("tr");
        const named = this.lines.length > 1 ? [line.label] : [];
        for (const text of [sayCount(points.step[row]), new Date(points.time[row] * 1000).toLocaleTimeString(), ...named, say(points.value[row])]) {
          cells.append(Object.assign(document.createElement("td"), { textContent: text, className: "number" }));
        }
        return cells;
      });
    const table = document.createElement("table");
    table.innerHTML = `<caption></caption><thead><tr><th class="number">step</th><th class="number">time</th>${this.lines.length > 1 ? '<th class="number">line</th>' : ""}<th class="number">value</th></tr></thead>`;
    table.caption.textContent = `${this.panel.title}, newest first${body.length === TABLE_ROWS ? `, ${TABLE_ROWS} rows; the CSV has all` : ""}`;
    const rowsOf = document.createElement("tbody");
    rowsOf.append(...body);
    table.append(rowsOf);
    this.querySelector(".table").replaceChildren(table);
  }

  // --- hands ---------------------------------------------------------------------------------

  #listen() {
    this.quit = new AbortController();
    const { signal } = this.quit;
    const redraw = () => this.turns.ask(this);
    this.board.addEventListener("change", redraw, { signal });
    this.board.addEventListener("cursor", () => {
      if (!this.seen) return;
      this.#placeCursor();
      this.#writeValues();
    }, { signal });
    this.plot.addEventListener("pointermove", (event) => this.#plotted && this.board.point(this.#pixelToX(event)), { signal });
    for (const name of ["pointerleave", "blur"]) this.plot.addEventListener(name, () => this.board.point(null), { signal });
    this.plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#showWhole();
      else if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) this.#step(event);
      else return;
      event.preventDefault();
    }, { signal });
    this.plot.addEventListener("pointerdown", () => { this.#held = true; }, { capture: true, signal });
    for (const name of ["pointerup", "pointercancel"]) {
      window.addEventListener(name, () => {
        if (!this.#held) return;
        this.#held = false;
        redraw();
      }, { signal });
    }
    this.slider.addEventListener("input", () => this.#set({ smooth: Number(this.slider.value) }), { signal });
    this.querySelector(".wide-toggle").addEventListener("click", () => this.#set({ wide: !this.options.wide }), { signal });
    this.querySelector(".menu-body").addEventListener("click", ({ target }) => this.#choose(target.closest("[data-do]")?.dataset.do), { signal });
    const menu = this.querySelector(".menu");
    document.addEventListener("click", (event) => {
      if (!menu.contains(event.target)) menu.open = false;
    }, { signal });
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      menu.open = false;
      menu.querySelector("summary").focus();
    }, { signal });
  }

  #choose(what) {
    if (!what) return;
    this.querySelector(".menu").open = false;
    if (what === "png") Plotly.downloadImage(this.canvas, { format: "png", scale: 2, filename: this.#fileName() });
    else if (what === "csv") this.#saveCsv();
    else if (what === "pin") this.dispatchEvent(new CustomEvent("pin", { bubbles: true, detail: this.panel.key }));
    else {
      if (what === "log") this.#yRange = null;
      this.#set({ [what]: !this.options[what] });
    }
  }

  #set(change) {
    Object.assign(this.options, change);
    localStorage.setItem(this.memory, JSON.stringify(this.options));
    this.#wearOptions();
    this.turns.ask(this);
  }

  #wearOptions() {
    this.classList.toggle("wide", this.options.wide);
    this.querySelector(".wide-toggle").setAttribute("aria-pressed", this.options.wide);
    for (const button of this.querySelectorAll("[data-do][aria-pressed]")) {
      const on = button.dataset.do === "pin" ? Boolean(this.panel.pinned) : this.options[button.dataset.do];
      button.setAttribute("aria-pressed", on);
    }
    this.querySelector(".table").hidden = !this.options.table;
    if (this.options.table && this.source) this.#writeTable();
  }

  #fileName() {
    return `run-${this.source.run}-${this.panel.key.replaceAll(/[^\w]+/g, "-")}`;
  }

  #saveCsv() {
    for (const line of this.lines) {
      const points = this.source.points(line.id);
      if (!points) continue;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csv(line.name, points)], { type: "text/csv" }));
      link.download = `run-${this.source.run}-${line.name.replaceAll(/[^\w]+/g, "-")}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    }
  }

  // Charts out of view hold no plot: a page of a hundred metrics costs what is on the screen.
  #watchView() {
    this.watcher = new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      if (this.seen) this.turns.ask(this);
      else this.#clear();
    }, { rootMargin: "300px" });
    this.watcher.observe(this);
    this.sizer = new ResizeObserver(() => this.turns.ask(this));
    this.sizer.observe(this.plot);
  }
}

function faded(ink, alpha) {
  return alpha === 1 ? ink : ink.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
}

customElements.define("run-chart", RunChart);
