// <run-page>: what a run says as it runs. The server rendered the page as it stood; from here the socket
// keeps it true: the header and its notices, the vital signs, the charts, and the parts that are HTML
// (samples, console, events, lineage, report), which are fetched again when they have changed.

import { KL, SCORE } from "./curves.js";
import { diff } from "./diff.js";
import "./report_chart.js";
import { Board } from "./run_board.js";
import "./run_chart.js";
import "./run_frontier.js";
import { say, sayClock, sayCount, saySeconds, sparkline, trend } from "./run_lines.js";
import { arrange } from "./run_panels.js";
import { RunStream } from "./run_stream.js";
import { Turns } from "./run_turns.js";
import { onThemeChange } from "./theme.js";

const HELD = ["running", "paused", "stopping"];
const ENDED = ["stopped", "finished", "failed"];
const TONES = { running: "accent", finished: "good", failed: "bad", paused: "warn", stopping: "warn", stopped: "warn" };
const SILENT_AFTER = 10; // seconds; a worker writes every two
const EVENT_TONES = { failed: "bad", worker_lost: "bad", alarm: "bad", set: "warn", stop: "warn", pause: "warn" };
const VITALS_EVERY = 300;
const FEW_CHARTS = 12;

const remembered = (key, otherwise) => JSON.parse(localStorage.getItem(key) ?? "null") ?? otherwise;
const remember = (key, value) => localStorage.setItem(key, JSON.stringify(value));

export class RunPage extends HTMLElement {
  connectedCallback() {
    this.run = Number(this.getAttribute("run"));
    this.facts = JSON.parse(this.querySelector("#run-facts").textContent);
    this.state = { status: this.facts.status, workers_alive: null };
    this.series = new Map();
    this.events = [];
    this.board = new Board();
    this.turns = new Turns();
    this.charts = new Map(); // panel key -> <run-chart>
    this.delay = null;
    this.fresh = new Map(); // part -> when it may be fetched again
    this.source = {
      run: this.run,
      points: (id) => this.history.points.get(id),
      events: () => this.events,
    };
    this.#wireCharts();
    this.#wireTabs();
    this.#wireForms();
    this.#markSamples();
    this.#connect();
    this.clock = setInterval(() => this.#tick(), 1000);
    for (const name of ["scroll", "resize"]) window.addEventListener(name, () => this.#fitSide(), { passive: true });
    new ResizeObserver(() => this.#fitSide()).observe(this.querySelector(".vitals").parentElement);
    this.#tick();
  }

  disconnectedCallback() {
    clearInterval(this.clock);
    this.stream.stop();
  }

  show(name) {
    return this.querySelector(`[data-show="${name}"]`);
  }

  // --- the stream ----------------------------------------------------------------------------

  #connect() {
    this.stream = new RunStream(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/`);
    const hear = {
      run: (state) => this.#stateChanged(state),
      heartbeat: (state) => this.#stateChanged(state),
      series: ({ series }) => this.#seriesCame(series),
      points: (news) => this.#pointsCame(news),
      events: ({ events }) => this.#eventsCame(events),
      samples: () => this.#samplesCame(),
      reset: () => this.#startAgain(),
      link: (news) => this.#linkChanged(news),
      error: ({ message }) => this.#refuse(message),
    };
    for (const [name, listener] of Object.entries(hear)) {
      this.stream.addEventListener(name, ({ detail }) => listener(detail));
    }
    this.history = this.stream.watch(this.run);
    window.addEventListener("online", () => this.stream.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.stream.hurry());
  }

  #stateChanged(news) {
    const before = this.state.status;
    this.state = { ...this.state, ...news };
    const { status } = this.state;
    if (status !== before) {
      if (HELD.includes(status)) this.facts.finished = null;
      if (ENDED.includes(status)) this.facts.finished ??= this.state.now;
      if (status === "running") this.facts.started ??= this.state.now;
      for (const part of ["report", "lineage", "samples", "console"]) this.#refresh(part);
      this.#dressHeader();
    }
    this.#tick();
  }

  #seriesCame(series) {
    for (const one of series) this.series.set(one.name, one);
    this.#arrangeCharts();
    this.#drawVitals();
  }

  #pointsCame({ behind }) {
    const { history, board } = this;
    this.delay = { behind, at: this.stream.serverNow() };
    let step = 0;
    let start = Infinity;
    for (const { size, step: steps, time } of history.points.values()) {
      step = Math.max(step, steps[size - 1]);
      start = Math.min(start, time[0]);
    }
    board.start = start;
    board.arrived(step, history.lastTime);
    this.show("charts-empty").hidden = true;
    this.#askAll();
    if (!this.vitalsDue) {
      this.vitalsDue = setTimeout(() => {
        this.vitalsDue = null;
        this.#drawVitals();
        this.#tick();
      }, VITALS_EVERY);
    }
  }

  #eventsCame(events) {
    this.events.push(...events.map((event) => ({ ...event, time: Date.parse(event.at) / 1000, tone: EVENT_TONES[event.kind] ?? "plain" })));
    this.#refresh("events");
    this.#askAll();
  }

  #samplesCame() {
    const chosen = this.querySelector("[data-samples] [name=step]");
    if (!chosen || chosen.value === "") this.#refresh("samples");
  }

  #startAgain() {
    this.events = [];
    for (const chart of this.charts.values()) chart.forget();
  }

  #linkChanged({ link, wait }) {
    this.retryAt = link === "closed" ? performance.now() + wait : null;
    this.cuts = link === "open" ? 0 : (this.cuts ?? 0) + (link === "closed" ? 1 : 0);
    this.#tick();
  }

  #askAll() {
    for (const chart of this.charts.values()) this.turns.ask(chart);
  }

  // --- header --------------------------------------------------------------------------------

  #dressHeader() {
    const { status } = this.state;
    this.dataset.status = status;
    this.show("status-word").textContent = status;
    for (const form of this.querySelectorAll("[data-when]")) form.hidden = !form.dataset.when.split(" ").includes(status);
    this.show("failed").hidden = status !== "failed";
    this.show("reason").textContent = this.state.reason ?? "";
    document.title = `${status === "running" ? "▶ " : ""}Run ${this.run} · ${status} · Kibitz`;
  }

  #tick() {
    const { state, facts } = this;
    const now = this.stream?.serverNow() ?? Date.now() / 1000;
    this.show("clock").textContent = facts.started ? sayClock((facts.finished ?? now) - facts.started) : "not started";
    const step = Math.max(state.step ?? 0, this.board.newest.step);
    if (step || state.total) {
      this.show("steps").hidden = false;
      this.show("step").textContent = sayCount(step);
      if (state.total) {
        this.show("total").textContent = `/${sayCount(state.total)}`;
        Object.assign(this.show("progress"), { hidden: false, max: state.total, value: step });
      }
    }
    if (state.workers_alive === null) return; // until the socket has spoken, the page as rendered is the best we know
    const silent = state.worker ? state.worker.silent_for + now - state.now : 0;
    const queued = state.status === "queued";
    const gone = silent > SILENT_AFTER && HELD.includes(state.status);
    this.classList.toggle("silent", gone);
    this.show("status").className = `badge state ${gone ? "warn" : (TONES[state.status] ?? "")}`;
    this.show("worker").innerHTML = state.worker ? "worker <code></code>" : "";
    if (state.worker) this.show("worker").firstElementChild.textContent = state.worker.name;
    this.show("no-worker").hidden = !(queued && state.workers_alive === 0);
    this.#notice("waiting", queued && state.workers_alive > 0, () => {
      const ahead = (state.queue_position ?? 1) - 1;
      return ahead > 0
        ? `Queued: ${ahead} ${ahead === 1 ? "run is" : "runs are"} ahead of it, and ${this.#workers()}.`
        : `Queued, and next: ${this.#workers()}. It begins when a place is free.`;
    });
    this.#notice("silent", gone, () =>
      `${state.worker.name} has been silent for ${saySeconds(silent)}. Nothing that was logged is lost; if the worker is gone, another takes the run up from its last checkpoint.`,
    );
    const cut = this.stream.link !== "open" && this.cuts > 1;
    this.#notice("offline", cut, () => {
      const wait = this.retryAt ? Math.max(0, (this.retryAt - performance.now()) / 1000) : 0;
      return `This page has lost its connection; the run itself goes on. ${wait ? `Trying again in ${Math.ceil(wait)} s.` : "Trying now."} What is missed meanwhile will be filled in.`;
    });
    this.#sayStream(now, silent);
  }

  #workers() {
    const count = this.state.workers_alive;
    return count === 1 ? "one worker is alive" : `${count} workers are alive`;
  }

  #notice(name, shown, words) {
    const notice = this.show(name);
    notice.hidden = !shown;
    if (shown) notice.firstElementChild.textContent = words();
  }

  // How true the page is: the one line that lets a person trust the charts.
  #sayStream(now, silent) {
    const { last } = this.history;
    const known = Math.max(this.state.last_seq ?? 0, last);
    const line = this.show("stream");
    let mood = "live";
    let words;
    if (this.stream.link !== "open") {
      mood = "cut";
      words = `not connected · shown through #${sayCount(last)}`;
    } else if (last < known && known - last > 1 && (this.delay === null || now - this.delay.at > 1 || known > last * 1.2)) {
      mood = "behind";
      words = `catching up · #${sayCount(last)} of #${sayCount(known)}`;
    } else if (ENDED.includes(this.state.status)) {
      mood = "ended";
      words = last ? `complete · all ${sayCount(last)} rows` : "nothing was logged";
    } else if (this.state.status === "queued") {
      mood = "idle";
      words = last ? `complete through #${sayCount(last)}` : "waiting";
    } else if (this.classList.contains("silent")) {
      mood = "cut";
      words = `worker silent for ${saySeconds(silent)} · complete through #${sayCount(last)}`;
    } else {
      const age = this.delay ? now - this.delay.at : 0;
      const delay = this.delay?.behind ?? null;
      words = last ? `complete through #${sayCount(last)}` : "waiting for the first row";
      if (age > 5) words += ` · newest ${saySeconds(age)} ago`;
      else if (delay !== null) words += ` · ${delay < 0.05 ? "under 50 ms" : saySeconds(delay)} behind`;
    }
    line.dataset.mood = mood;
    line.textContent = words;
  }

  #refuse(message) {
    this.#notice("refused", true, () => message);
    setTimeout(() => { this.show("refused").hidden = true; }, 12_000);
  }

  // --- vital signs and charts ----------------------------------------------------------------

  #drawVitals() {
    for (const card of this.querySelectorAll("[data-vital]")) {
      const one = this.series.get(card.dataset.vital);
      const points = one && this.history.points.get(one.id);
      if (!points?.size) continue;
      card.querySelector(".value").textContent = say(points.value[points.size - 1], 3);
      card.querySelector("path").setAttribute("d", sparkline(points, 96, 24));
      const going = trend(points.value, points.size, one.better);
      const words = card.querySelector(".words");
      words.className = `words ${going?.good === true ? "good" : going?.good === false ? "bad" : ""}`;
      const change = going && Number.isFinite(going.change) && going.way !== "flat" ? `${going.change > 0 ? "+" : ""}${say(going.change, 2)} ` : "";
      words.textContent = going ? change + going.words : `${sayCount(points.size)} row${points.size === 1 ? "" : "s"}`;
    }
  }

  #arrangeCharts() {
    const pinned = remembered("kibitz:pinned", []);
    const place = this.querySelector(".chart-sections");
    const sections = arrange([...this.series.values()], pinned);
    // What fits a glance is open; of more, the method's own.
    this.fewCharts = sections.reduce((sum, { panels }) => sum + panels.length, 0) <= FEW_CHARTS;
    this.querySelector(".chart-bar").hidden = !sections.length;
    const wanted = sections.map(({ title, panels }) => {
      const own = title === "Vital";
      const section = [...place.querySelectorAll("details")].find(({ dataset }) => dataset.title === title) ?? this.#section(title);
      section.querySelector(".title").textContent = own ? `The charts of ${this.facts.method}` : title;
      section.querySelector(".count").textContent = panels.length;
      const charts = panels.map((panel) => this.#chart({ ...panel, pinned: pinned.includes(panel.key) }));
      if (own && this.series.has(KL) && this.series.has(SCORE)) charts.unshift(this.#frontier());
      const grid = section.querySelector(".charts");
      charts.forEach((chart, i) => {
        if (grid.children[i] !== chart) grid.insertBefore(chart, grid.children[i] ?? null);
      });
      return section;
    });
    wanted.forEach((section, i) => {
      const here = place.querySelectorAll("details.chart-section")[i];
      if (here !== section) place.insertBefore(section, here ?? null);
    });
    for (const section of place.querySelectorAll("details.chart-section")) if (!wanted.includes(section)) section.remove();
    this.#filterCharts();
  }

  #section(title) {
    const section = document.createElement("details");
    section.className = "chart-section";
    section.dataset.title = title;
    section.innerHTML = `<summary><span class="title"></span> <span class="count number quiet-text"></span></summary><div class="charts"></div>`;
    section.firstElementChild.addEventListener("click", () => {
      if (!this.filtering) remember("kibitz:folds", { ...remembered("kibitz:folds", {}), [title]: !section.open });
    });
    return section;
  }

  #chart(panel) {
    let chart = this.charts.get(panel.key);
    if (!chart) {
      chart = document.createElement("run-chart");
      chart.prepare({ panel, lines: panel.lines, board: this.board, source: this.source, turns: this.turns });
      this.charts.set(panel.key, chart);
    } else chart.change(panel);
    return chart;
  }

  // Of a run that learns from its own samples: what its distance from the reference has bought.
  #frontier() {
    if (!this.charts.has("frontier")) {
      const points = (name) => this.history.points.get(this.series.get(name)?.id);
      const chart = document.createElement("run-frontier").prepare({ run: this.run, points, turns: this.turns });
      this.charts.set("frontier", chart);
    }
    return this.charts.get("frontier");
  }

  #filterCharts() {
    const asked = this.querySelector("#chart-filter").value.trim().toLowerCase();
    this.filtering = asked !== "";
    const folds = remembered("kibitz:folds", {});
    for (const section of this.querySelectorAll("details.chart-section")) {
      let shown = 0;
      for (const chart of section.querySelectorAll(".chart-card")) {
        chart.hidden = this.filtering && !`${chart.panel.title} ${chart.lines.map(({ name }) => name).join(" ")}`.toLowerCase().includes(asked);
        if (!chart.hidden) shown += 1;
      }
      section.hidden = shown === 0;
      section.querySelector(".count").textContent = shown;
      const own = ["Vital", "Pinned"].includes(section.dataset.title);
      section.open = this.filtering || (folds[section.dataset.title] ?? (own || this.fewCharts));
    }
  }

  #wireCharts() {
    const bar = this.querySelector(".chart-bar");
    const follow = bar.querySelector("[data-follow]");
    const reset = bar.querySelector("[data-reset]");
    bar.addEventListener("click", ({ target }) => {
      const axis = target.closest("[data-axis]");
      if (axis) this.board.choose(axis.dataset.axis);
      else if (target.closest("[data-follow]")) this.board.keepUp(!this.board.follow);
      else if (target.closest("[data-reset]")) this.#resetZoom();
    });
    bar.querySelector("#chart-filter").addEventListener("input", () => this.#filterCharts());
    this.board.addEventListener("change", () => {
      for (const button of bar.querySelectorAll("[data-axis]")) button.setAttribute("aria-pressed", button.dataset.axis === this.board.axis);
      follow.setAttribute("aria-pressed", this.board.follow);
      reset.hidden = !this.board.range;
    });
    this.addEventListener("pin", ({ detail: key }) => {
      const pinned = remembered("kibitz:pinned", []);
      remember("kibitz:pinned", pinned.includes(key) ? pinned.filter((one) => one !== key) : [...pinned, key]);
      this.#arrangeCharts();
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
      if (event.key === "f") this.board.keepUp(!this.board.follow);
      else if (event.key === "r") this.#resetZoom();
      else if (event.key === "/") bar.querySelector("#chart-filter").focus();
      else return;
      event.preventDefault();
    });
    onThemeChange(() => this.#askAll());
    document.querySelector("#plotly").addEventListener("load", () => this.#askAll());
  }

  #resetZoom() {
    for (const chart of this.charts.values()) chart.unzoom();
    this.board.zoom(null);
  }

  // --- tabs, parts, forms --------------------------------------------------------------------

  #wireTabs() {
    const list = this.querySelector("[role=tablist]");
    const tabs = [...list.querySelectorAll("[role=tab]")];
    const choose = (tab, { focus = false, keep = true } = {}) => {
      for (const one of tabs) {
        const chosen = one === tab;
        one.setAttribute("aria-selected", chosen);
        one.tabIndex = chosen ? 0 : -1;
        this.querySelector(`#${one.getAttribute("aria-controls")}`).hidden = !chosen;
      }
      if (focus) tab.focus();
      this.tab = tab.id.replace("tab-", "");
      if (keep) remember("kibitz:run-tab", this.tab);
      if (this.tab === "console") {
        this.#toConsoleEnd();
        this.#refresh("console");
      }
    };
    list.hidden = false;
    list.addEventListener("click", ({ target }) => target.closest("[role=tab]") && choose(target.closest("[role=tab]")));
    list.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      choose(tabs[(tabs.findIndex(({ tabIndex }) => tabIndex === 0) + move + tabs.length) % tabs.length], { focus: true });
    });
    // Of a run that failed one wants to know why.
    const asked = location.hash.replace("#panel-", "") || (this.facts.status === "failed" ? "console" : remembered("kibitz:run-tab", "samples"));
    choose(tabs.find(({ id }) => id === `tab-${asked}`) ?? tabs[0], { keep: false });
    setInterval(() => {
      if (this.tab === "console" && !document.hidden && HELD.includes(this.state.status)) this.#refresh("console");
    }, 2000);
  }

  // Fetches a part again: soon, and at most every second and a half however often it changes.
  #refresh(name) {
    if (this.fresh.has(name)) {
      this.fresh.set(name, "again");
      return;
    }
    this.fresh.set(name, "waiting");
    this.#fetchPart(name);
    setTimeout(() => {
      const again = this.fresh.get(name) === "again";
      this.fresh.delete(name);
      if (again) this.#refresh(name);
    }, 1500);
  }

  async #fetchPart(name) {
    const place = this.querySelector(`[data-part="${name}"]`);
    const query = name === "samples" ? this.#sampleSteps() : "";
    const response = await fetch(`/runs/${this.run}/${name}/${query}`).catch(() => null);
    if (!response?.ok) return; // the next change asks again
    const html = await response.text();
    const selection = getSelection();
    if (!selection.isCollapsed && place.contains(selection.anchorNode)) return; // somebody is reading, and marks what they read
    if (place.dataset.html === html) return;
    const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 8;
    place.dataset.html = html;
    place.innerHTML = html;
    if (name === "samples") this.#markSamples();
    if (name === "console" && atEnd) this.#toConsoleEnd();
  }

  #toConsoleEnd() {
    const place = this.querySelector("[data-part=console]");
    place.scrollTop = place.scrollHeight;
  }

  // The side ends where the window does, wherever it begins.
  #fitSide() {
    const side = this.querySelector(".run-side");
    side.style.setProperty("--side-top", `${Math.max(side.getBoundingClientRect().top, 0)}px`);
  }

  #sampleSteps() {
    const form = this.querySelector("[data-samples]");
    if (!form) return "";
    const asked = new URLSearchParams();
    for (const name of ["before", "step"]) if (form.elements[name].value !== "") asked.set(name, form.elements[name].value);
    return `?${asked}`;
  }

  #markSamples() {
    const form = this.querySelector("[data-samples]");
    if (!form) return;
    const marks = remembered("kibitz:sample-marks", true);
    form.elements.marks.checked = marks;
    if (!marks) return;
    for (const answers of this.querySelectorAll(".answers.two")) {
      const [before, now] = [answers.querySelector(".before"), answers.querySelector(".now")];
      const parts = diff(before.textContent, now.textContent);
      const write = (place, kind, tag) => {
        place.replaceChildren(...parts
          .filter((part) => part.kind === "same" || part.kind === kind)
          .map((part) => (part.kind === kind ? Object.assign(document.createElement(tag), { textContent: part.text }) : part.text)));
      };
      write(before, "removed", "del");
      write(now, "added", "ins");
    }
  }

  #wireForms() {
    this.addEventListener("change", ({ target }) => {
      if (!target.closest("[data-samples]")) return;
      if (target.name === "marks") remember("kibitz:sample-marks", target.checked);
      this.querySelector("[data-part=samples]").removeAttribute("data-html");
      this.#fetchPart("samples");
    });
    // Without script these forms post and the page comes anew; with it the zoom stays.
    this.addEventListener("submit", async (event) => {
      const form = event.target;
      if (form.method !== "post") return;
      event.preventDefault();
      const buttons = form.querySelectorAll("button");
      for (const button of buttons) button.disabled = true;
      const response = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } }).catch(() => null);
      for (const button of buttons) button.disabled = false;
      this.querySelector(".run-actions .more")?.removeAttribute("open");
      if (!response) this.#refuse("The server could not be reached: nothing was changed. Try again.");
      else if (!response.ok) this.#refuse((await response.json().catch(() => null))?.error?.message ?? `The server answered ${response.status}: nothing was changed.`);
      else if (form.closest(".sample")) this.#refresh("samples");
    });
  }
}

customElements.define("run-page", RunPage);
