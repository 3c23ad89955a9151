// Judging a trace: one step is in focus at a time, and the keys speak of it.
//
// What is said stands in the form's own radios, and the buttons that send are the form's; this file moves the focus,
// presses them and shows how far one is.

import { foldPrompt } from "./prompt.js";

const WORDS = { 1: "right", 0: "neutral", "-1": "wrong" };
const SIGNS = { 1: "✓", 0: "○", "-1": "✗" };

class StepsAnswer extends HTMLElement {
  connectedCallback() {
    if (!this.steps) this.begin();
    this.listening = new AbortController();
    document.addEventListener("keydown", (event) => this.arrow(event), { signal: this.listening.signal });
    this.redraw();
  }

  disconnectedCallback() {
    this.listening.abort();
  }

  begin() {
    this.form = this.closest("form");
    this.steps = [...this.querySelectorAll(".step")];
    this.cells = [...this.form.querySelectorAll("[data-say]")];
    this.every = this.cells.length > 0;
    foldPrompt(this.querySelector(".prompt"));
    this.classList.add("alive");
    for (const part of this.form.querySelectorAll("[data-alive], [data-progress-line]")) part.hidden = false;
    const action = (name) => this.form.querySelector(`[data-action="${name}"]`);
    action("step_back").addEventListener("click", () => this.go(this.at - 1));
    action("step_on").addEventListener("click", () => this.go(this.at + 1));
    action("first_wrong").addEventListener("click", (event) => {
      // The second press of a double click would judge the trace that has just appeared.
      if (event.detail < 2) this.steps[this.at].querySelector(".step-first").click();
    });
    for (const cell of this.cells) cell.addEventListener("click", () => this.say(cell.dataset.say));
    for (const [at, step] of this.steps.entries()) {
      step.addEventListener("focusin", () => this.turnTo(at));
      step.addEventListener("click", () => this.turnTo(at));
      step.addEventListener("change", () => this.said(at));
    }
    this.form.querySelector("[data-send]")?.addEventListener("click", (event) => this.check(event));
    this.form.addEventListener("kibitz:restored", () => this.redraw());
    const before = this.steps.findIndex((step) => step.querySelector("[aria-pressed=true]"));
    this.at = before >= 0 ? before : Math.max(0, this.open());
  }

  // --- where one is

  /** Arrows move between steps, held down too; in a field, a radio or anything else that has its own use for them, not. */
  arrow(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || event.target.closest?.("input, textarea, select, [contenteditable], dialog, .drawer, .prompt, .outcome")) return;
    event.preventDefault();
    this.go(this.at + by);
  }

  /** Puts a step in focus, in the middle of the window, or from its beginning where it is too tall for that. */
  go(at) {
    const step = this.steps[at];
    if (!step) return;
    step.focus({ preventScroll: true });
    step.scrollIntoView({ block: step.offsetHeight < this.clientHeight ? "center" : "start" });
  }

  turnTo(at) {
    if (this.at !== at) {
      this.at = at;
      this.mark();
    }
  }

  mark() {
    for (const [at, step] of this.steps.entries()) {
      step.classList.toggle("current", at === this.at);
      step.tabIndex = at === this.at ? 0 : -1; // one stop of the Tab key for the whole trace
    }
    const label = this.labelOf(this.at);
    for (const cell of this.cells) cell.setAttribute("aria-pressed", cell.dataset.say === label);
    this.form.querySelector("[data-action=step_back]").disabled = this.at === 0;
    this.form.querySelector("[data-action=step_on]").disabled = this.at === this.steps.length - 1;
    this.count();
  }

  // --- what is said

  labelOf(at) {
    return this.steps[at].querySelector("input:checked")?.value ?? null;
  }

  /** The first step that must still be judged: none behind the first wrong one must; -1 where none is left. */
  open() {
    if (!this.every) return 0;
    const labels = this.steps.map((_, at) => this.labelOf(at));
    const wrong = labels.indexOf("-1");
    const open = labels.indexOf(null);
    return wrong >= 0 && wrong < open ? -1 : open;
  }

  /** A key or a cell of the bar judges the step in focus, and moves on. */
  say(label) {
    const at = this.at;
    this.steps[at].querySelector(`input[value="${label}"]`).checked = true;
    this.said(at);
    this.note(`Step ${at + 1} is ${WORDS[label]}.`);
    if (at + 1 < this.steps.length) this.go(at + 1);
    else this.note(this.open() < 0 ? "That was the last step. Enter sends." : `Step ${this.open() + 1} is not judged yet.`);
  }

  said(at) {
    this.draw(at);
    this.mark();
  }

  check(event) {
    const open = this.open();
    if (open < 0) return;
    event.preventDefault();
    this.go(open);
    this.note(`Step ${open + 1} is not judged. Judge every step up to the first wrong one, or skip.`);
  }

  note(words) {
    this.dispatchEvent(new CustomEvent("kibitz:note", { bubbles: true, detail: words }));
  }

  // --- what is drawn

  redraw() {
    for (const at of this.steps.keys()) this.draw(at);
    this.mark();
  }

  draw(at) {
    const label = this.labelOf(at);
    const step = this.steps[at];
    if (label === null) delete step.dataset.label;
    else step.dataset.label = label;
    step.querySelector("[data-said]").textContent = label === null ? "" : `${SIGNS[label]} ${WORDS[label]}`;
  }

  count() {
    const [total, bar] = [this.steps.length, this.form.querySelector("[data-progress-line] progress")];
    const judged = this.steps.filter((step) => step.dataset.label !== undefined).length;
    bar.value = this.every ? judged : this.at + 1;
    this.form.querySelector("[data-progress]").textContent =
      `Step ${this.at + 1} of ${total}${this.every ? ` · ${judged} judged` : ""}`;
  }
}

customElements.define("steps-answer", StepsAnswer);
