// Trimming what a person drove: its two ends stand in the form's own fields, and are set by keys, by dragging, or there.

import { lay } from "../clip_clock.js";
import { Outcome } from "../clip_outcome.js";
import { Player, draggable } from "../clip_player.js";
import { foldPrompt } from "./prompt.js";

class DrivenRecording extends HTMLElement {
  connectedCallback() {
    if (!this.player) this.prepare();
    this.player.connect();
  }

  disconnectedCallback() {
    this.player.disconnect();
  }

  prepare() {
    this.form = this.closest("form");
    const prompt = this.querySelector(".prompt");
    if (prompt) foldPrompt(prompt);
    this.classList.add("alive");
    [this.from, this.to] = ["from", "to"].map((name) => this.querySelector(`input[name=${name}]`));
    this.lane = this.querySelector("[data-lane]");
    this.player = new Player(this, { loop: true, ready: () => this.begin(), moved: () => this.follow() });
    const work = {
      in: () => this.trim(this.player.at(), Math.max(this.ends()[1], this.player.at() + 1)),
      out: () => this.trim(Math.min(this.ends()[0], this.player.at()), this.player.at() + 1),
      untrim: () => this.trim(0, this.count),
    };
    this.form.addEventListener("click", (event) => {
      const name = event.target.closest("[data-do]")?.dataset.do;
      if (this.player.clips) work[name]?.();
    });
    for (const field of [this.from, this.to]) field.addEventListener("change", () => this.trim(...this.ends()));
    this.form.addEventListener("kibitz:restored", () => this.draw());
    new Outcome(this.form);
    draggable(this.lane, {
      count: () => this.count,
      pressed: (step) => this.player.clips && this.player.go(step * this.player.clock.step, true),
      dragged: (start, stop) => this.trim(start, stop),
      done: (start, stop) => this.trim(start, stop),
    });
  }

  begin() {
    this.querySelector("[data-trim]").hidden = false;
    this.draw();
  }

  get count() {
    return this.player.clips?.[0].count ?? 1;
  }

  /** The first step and the step after the last, whatever stands in the fields. */
  ends() {
    const read = (field, otherwise) => (/^\d+$/.test(field.value.trim()) ? Number(field.value) : otherwise);
    const start = Math.min(this.count - 1, read(this.from, 0));
    return [start, Math.min(this.count, Math.max(start + 1, read(this.to, this.count)))];
  }

  trim(start, stop) {
    [this.from.value, this.to.value] = [start, Math.max(start + 1, stop)];
    this.from.dispatchEvent(new Event("input", { bubbles: true }));
    this.draw();
  }

  draw() {
    if (!this.player.clips) return;
    const [start, stop] = this.ends();
    const { step } = this.player.clock;
    this.player.clock.between(start * step, stop * step);
    const kept = document.createElement("span");
    kept.className = "lane-part kept";
    lay(kept, start, stop, this.count);
    const needle = document.createElement("span");
    needle.className = "lane-now";
    this.lane.replaceChildren(kept, needle);
    const all = start === 0 && stop === this.count;
    this.querySelector("[data-trimmed]").textContent = all
      ? `All of it: ${(this.count * step).toFixed(1)} s`
      : `${(start * step).toFixed(1)} to ${(stop * step).toFixed(1)} s of ${(this.count * step).toFixed(1)}`;
    this.follow();
  }

  follow() {
    const needle = this.lane.querySelector(".lane-now");
    if (needle) needle.style.insetInlineStart = `${(100 * this.player.clock.now) / this.player.clock.duration}%`;
  }
}

customElements.define("driven-recording", DrivenRecording);
