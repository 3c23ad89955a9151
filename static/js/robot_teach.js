// Teach: starts a run on what was said, shows it learn, and then lets the robot try alone.
//
// The charts are those of the run page, on the same stream; they and Plotly are fetched when there is a run to show.

import { RunStream } from "./run_stream.js";

const MOST = 2; // charts
const ENDED = ["finished", "failed", "stopped"];

export class Teach {
  constructor(root, { facts, csrf, problem }) {
    Object.assign(this, { facts, csrf, problem });
    this.show = (name) => root.querySelector(`[data-show="${name}"]`);
    this.button = root.querySelector("[data-do=teach]");
    if (!this.button) return;
    this.button.hidden = !facts.teach;
    if (facts.run) this.#watch(Number(facts.run));
  }

  get here() {
    return Boolean(this.button);
  }

  async start() {
    if (!this.here || this.button.disabled) return;
    this.button.disabled = true;
    this.show("teach-words").textContent = "Freezing what was said, and starting a run …";
    const answer = await fetch(this.facts.teach, {
      method: "POST",
      headers: { "X-CSRFToken": this.csrf, Accept: "application/json" },
    }).catch(() => null);
    const told = answer && (await answer.json().catch(() => null));
    if (!answer?.ok) {
      this.button.disabled = false;
      this.show("teach-words").textContent = "Nothing was started.";
      this.problem(told?.problem ?? told?.error?.message ?? (answer ? `The server answered ${answer.status}: no run was started.` : "The server could not be reached: no run was started. Try again."));
      return;
    }
    this.#watch(told.run);
  }

  #watch(run) {
    const link = this.show("run-link");
    Object.assign(link, { hidden: false, href: `/runs/${run}/`, textContent: `Open run ${run}` });
    this.show("alone").elements.run.value = run;
    this.stream?.stop();
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.stream = new RunStream(`${scheme}://${location.host}/ws/`);
    this.#draw(run);
    for (const name of ["run", "heartbeat"]) this.stream.addEventListener(name, ({ detail }) => this.#tell(detail));
    this.history = this.stream.watch(run);
  }

  #tell({ status, step, total, reason }) {
    this.status = status ?? this.status;
    const bar = this.show("teach-progress");
    if (total) Object.assign(bar, { hidden: false, max: total, value: step ?? 0 });
    const words = {
      queued: "Waiting for a worker to take the run.",
      running: total ? `Learning: step ${step} of ${total}.` : "Learning.",
      paused: "The run is paused.",
      stopping: "The run is stopping.",
      finished: "It has learned. See whether it can do it by itself.",
      failed: `The run failed: ${reason || "its page says why"}.`,
      stopped: "The run was stopped before its end.",
    }[this.status];
    if (words && this.show("teach-words").textContent !== words) this.show("teach-words").textContent = words;
    this.button.disabled = !ENDED.includes(this.status);
    this.button.textContent = ENDED.includes(this.status) ? "Teach it again" : "Learning …";
    this.show("alone").hidden = this.status !== "finished" || !this.facts.teach;
  }

  // The method's own vital signs, as lines that grow. What arrives before the charts are fetched is drawn then.
  #draw(run) {
    const series = new Map();
    let shown = () => {};
    this.stream.addEventListener("series", ({ detail }) => {
      for (const one of detail.series) series.set(one.name, one);
      shown();
    });
    this.stream.addEventListener("points", () => shown());
    this.show("charts").replaceChildren();
    Promise.all([import("./run_board.js"), import("./run_panels.js"), import("./run_turns.js"), import("./run_chart.js"), plotly()]).then(
      ([{ Board }, { arrange }, { Turns }]) => {
        const drawing = { board: new Board(), turns: new Turns(), charts: new Map(), arrange };
        drawing.source = { run, points: (id) => this.history.points.get(id), events: () => [] };
        shown = () => this.#shown(series, drawing);
        shown();
      },
      (problem) => this.problem(`The charts could not be fetched (${problem.message}). The run goes on; its page shows it.`),
    );
  }

  #shown(series, { board, turns, charts, arrange, source }) {
    const [own] = arrange([...series.values()]);
    for (const panel of (own?.panels ?? []).slice(0, MOST)) {
      if (charts.has(panel.key)) charts.get(panel.key).change({ ...panel, pinned: false });
      else {
        const chart = document.createElement("run-chart");
        chart.prepare({ panel: { ...panel, pinned: false }, lines: panel.lines, board, source, turns });
        charts.set(panel.key, chart);
        this.show("charts").append(chart);
      }
    }
    const grown = [...this.history.points.values()].filter(({ size }) => size);
    if (grown.length) {
      board.start = Math.min(...grown.map(({ time }) => time[0]));
      board.arrived(Math.max(...grown.map(({ size, step }) => step[size - 1])), this.history.lastTime);
    }
    for (const chart of charts.values()) turns.ask(chart);
  }
}

let loading = null;

function plotly() {
  if (window.Plotly) return Promise.resolve();
  loading ??= new Promise((done, fail) => {
    const script = Object.assign(document.createElement("script"), { id: "plotly", src: document.querySelector("[data-plotly]").dataset.plotly });
    script.addEventListener("load", done);
    script.addEventListener("error", () => fail(new Error("Plotly could not be loaded.")));
    document.head.append(script);
  });
  return loading;
}
