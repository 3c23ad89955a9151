// <robot-timeline>: an episode from its first step to now. Above, who commanded what (the policy in grey, people in
// colour); below, when something was said, and what a person records. It draws at most once a frame.

import { saySteps, span, Track } from "./robot_track.js";

const INSIDE = `
  <div class="lane commands" role="list" aria-label="Commands"></div>
  <div class="lane marks" aria-hidden="true"></div>
  <div class="scale" aria-hidden="true"></div>
  <i class="cursor" aria-hidden="true"></i>`;

export class RobotTimeline extends HTMLElement {
  track = new Track();
  seconds = 0.1;
  #nodes = [];
  #marks = new Map(); // ref or id -> { node, start, stop }
  #kept = null; // the range that is recorded or trimmed
  #frame = null;
  #width = 0;

  connectedCallback() {
    if (this.lane) return;
    this.innerHTML = INSIDE;
    this.lane = this.querySelector(".commands");
    this.marks = this.querySelector(".marks");
    this.scale = this.querySelector(".scale");
    this.cursor = this.querySelector(".cursor");
  }

  begin(seconds) {
    this.seconds = seconds;
    this.track.clear();
    this.#nodes = [];
    this.#marks.clear();
    this.#kept = null;
    this.#width = 0;
    this.lane.replaceChildren();
    this.marks.replaceChildren();
    this.#ask();
  }

  step(number, command, by) {
    this.track.add(number, command ?? "", by);
    this.#ask();
  }

  /** A correction as it stands: a mark where it was said, a bar where it is obeyed. */
  correct(key, { start, stop, words }) {
    let mark = this.#marks.get(key);
    if (!mark) {
      mark = { node: document.createElement("i") };
      mark.node.className = "said";
      this.marks.append(mark.node);
      this.#marks.set(key, mark);
    }
    Object.assign(mark, { start, stop });
    mark.node.title = `${words}, ${saySteps(start, stop)}`;
    this.#ask();
  }

  /** The steps that are recorded: [start, stop] or null. */
  keep(range) {
    this.#kept = range;
    this.#ask();
  }

  #ask() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw() {
    const { runs, stop } = this.track;
    const whole = span(stop);
    const place = (node, from, to) => {
      node.style.insetInlineStart = `${(from / whole) * 100}%`;
      node.style.width = `${((to - from) / whole) * 100}%`;
    };
    for (let i = this.#nodes.length; i < runs.length; i += 1) this.#nodes.push(this.#segment(runs[i]));
    runs.forEach((run, i) => {
      if (whole === this.#width && i < runs.length - 2) return; // only the newest two grow
      place(this.#nodes[i], run.start, run.stop);
      const words = `${run.command || "no command"}, ${run.by === "person" ? "a person's" : run.by === "policy" ? "its own" : "nobody's"}, ${saySteps(run.start, run.stop)}`;
      this.#nodes[i].title = words;
      this.#nodes[i].setAttribute("aria-label", words);
    });
    for (const { node, start, stop: end } of this.#marks.values()) {
      node.hidden = start === null || start === undefined;
      if (!node.hidden) place(node, start, Math.max(start + 0.5, end ?? stop));
    }
    this.#showKept(place);
    if (whole !== this.#width) this.#ticks(whole);
    this.#width = whole;
    this.cursor.style.insetInlineStart = `${(stop / whole) * 100}%`;
  }

  #showKept(place) {
    this.kept ??= Object.assign(document.createElement("i"), { className: "kept", hidden: true });
    if (!this.kept.isConnected) this.marks.append(this.kept);
    this.kept.hidden = !this.#kept;
    if (this.#kept) place(this.kept, this.#kept[0], Math.max(this.#kept[0] + 0.5, this.#kept[1] ?? this.track.stop));
  }

  #segment({ command, by }) {
    const node = document.createElement("span");
    node.className = `segment ${by}`;
    node.setAttribute("role", "listitem");
    const words = document.createElement("span");
    words.textContent = command || (by === "person" ? "driven" : "");
    node.append(words);
    this.lane.append(node);
    return node;
  }

  #ticks(whole) {
    const every = whole <= 200 ? 20 : whole <= 400 ? 50 : 100;
    this.scale.replaceChildren();
    for (let step = 0; step < whole; step += every) {
      const tick = document.createElement("span");
      tick.textContent = step === 0 ? "0 s" : `${Math.round(step * this.seconds * 10) / 10}`;
      tick.style.insetInlineStart = `${(step / whole) * 100}%`;
      this.scale.append(tick);
    }
  }
}

customElements.define("robot-timeline", RobotTimeline);
