// Two clips under one clock: play, step, scrub, and mark on either what decided it.
//
// Marks stand in the form's own field, "A 0-12, B 30-41"; what is drawn is made from it, every time.

import { lay, readMarks, writeMarks } from "../clip_clock.js";
import { Player, draggable } from "../clip_player.js";
import { foldPrompt } from "./prompt.js";

const MOST = 20;

class ClipPair extends HTMLElement {
  connectedCallback() {
    if (!this.player) this.prepare();
    this.player.connect();
  }

  disconnectedCallback() {
    this.player.disconnect();
  }

  prepare() {
    const prompt = this.querySelector(".prompt");
    if (prompt) foldPrompt(prompt);
    this.classList.add("alive");
    this.side = 0;
    this.begun = null;
    this.field = this.querySelector("input[name=marks]");
    this.lanes = [...this.querySelectorAll("[data-lane]")];
    this.player = new Player(this, { ready: () => this.drawMarks(), moved: () => this.begun && this.drawMarks() });
    if (!this.field) return;
    this.querySelector("[data-marks-field]").hidden = true;
    this.querySelector("[data-lanes]").hidden = false;
    this.lanes.forEach((lane, side) => {
      draggable(lane, {
        count: () => this.steps(),
        pressed: (step) => {
          this.turnTo(side);
          this.player.clips && this.player.go(step * this.player.clock.step, true);
        },
        dragged: (start, stop) => this.drawMarks({ side, start, stop }),
        done: (start, stop) => this.mark(side, start, stop),
      });
    });
    this.addEventListener("click", (event) => {
      const chosen = event.target.closest("[data-side]");
      if (chosen) this.turnTo(Number(chosen.dataset.side));
      const one = event.target.closest("[data-mark]");
      if (one) this.remove(Number(one.dataset.mark));
      const work = {
        side: () => this.turnTo(1 - this.side),
        in: () => this.markIn(),
        out: () => this.markOut(),
        unmark: () => this.removeLast(),
      }[event.target.closest("[data-do]")?.dataset.do];
      work?.();
    });
    this.closest("form").addEventListener("kibitz:restored", () => this.drawMarks());
    this.turnTo(0);
  }

  // --- marks, as the form's field has them

  marks() {
    return readMarks(this.field.value);
  }

  keep(marks) {
    this.field.value = writeMarks(marks);
    this.field.dispatchEvent(new Event("input", { bubbles: true }));
    this.drawMarks();
  }

  /** How many steps the longer clip has: both lanes are as long. */
  steps() {
    return this.player.clock ? Math.round(this.player.clock.duration / this.player.clock.step) : 1;
  }

  mark(side, start, stop) {
    this.begun = null;
    const clip = this.player.clips?.[side];
    if (!clip) return;
    // The lanes count the steps of the finer clip; a mark counts those of its own.
    const ratio = this.player.clock.step / clip.seconds;
    const [first, end] = [Math.floor(start * ratio), Math.min(clip.count, Math.max(Math.floor(start * ratio) + 1, Math.round(stop * ratio)))];
    if (first >= clip.count) {
      this.note(`Clip ${"AB"[side]} has ended there.`);
      this.drawMarks();
      return;
    }
    if (this.marks().length >= MOST) {
      this.note(`${MOST} marks are the most. Take one out first.`);
      return;
    }
    this.keep([...this.marks(), { side, start: first, stop: end }]);
    this.tell(`Marked on ${"AB"[side]}: ${this.words({ side, start: first, stop: end })}.`);
  }

  turnTo(side) {
    if (side !== this.side) this.begun = null;
    this.side = side;
    this.lanes.forEach((lane, at) => lane.parentElement.classList.toggle("current", at === side));
    for (const button of this.querySelectorAll("[data-side]")) button.setAttribute("aria-pressed", Number(button.dataset.side) === side);
    this.querySelector("[data-side-name]").textContent = "AB"[side];
    this.drawMarks();
  }

  markIn() {
    if (!this.player.clips) return;
    this.begun = { side: this.side, start: Math.floor(this.player.clock.now / this.player.clock.step + 1e-6) };
    this.tell(`Begins on ${"AB"[this.side]}. Go to where it ends and press O.`);
    this.drawMarks();
  }

  markOut() {
    if (!this.player.clips) return;
    if (!this.begun) {
      this.note("Press I where it begins, and then O where it ends.");
      return;
    }
    const here = Math.min(this.steps() - 1, Math.floor(this.player.clock.now / this.player.clock.step + 1e-6));
    const { side, start } = this.begun;
    this.mark(side, Math.min(start, here), Math.max(start, here) + 1);
  }

  remove(at) {
    this.keep(this.marks().filter((_, other) => other !== at));
    this.tell("");
  }

  /** The mark that was made last; one that is only begun goes first. */
  removeLast() {
    const last = this.marks().length - 1;
    if (this.begun) {
      this.begun = null;
      this.tell("");
      this.drawMarks();
    } else if (last < 0) this.note("Nothing is marked.");
    else this.remove(last);
  }

  // --- what is drawn

  words({ side, start, stop }) {
    const seconds = this.player.clips?.[side]?.seconds ?? 1;
    return `${(start * seconds).toFixed(1)} to ${(stop * seconds).toFixed(1)} s`;
  }

  drawMarks(coming = null) {
    if (!this.field || !this.player.clips) return;
    const { step, now } = this.player.clock;
    const here = Math.floor(now / step + 1e-6);
    if (this.begun && !coming) {
      const { side, start } = this.begun;
      coming = { side, start: Math.min(start, here), stop: Math.max(start, here) + 1 };
    }
    const marks = this.marks();
    this.lanes.forEach((lane, side) => {
      const clip = this.player.clips[side];
      const ratio = clip.seconds / step;
      const parts = marks.flatMap((mark, at) => {
        if (mark.side !== side) return [];
        const part = document.createElement("button");
        part.type = "button";
        part.className = "lane-part";
        part.dataset.mark = at;
        part.title = part.ariaLabel = `${this.words(mark)} on ${"AB"[side]}: take it out`;
        lay(part, mark.start * ratio, mark.stop * ratio, this.steps());
        return [part];
      });
      const end = document.createElement("span");
      end.className = "lane-end";
      lay(end, clip.count * ratio, this.steps(), this.steps());
      const now = document.createElement("span");
      now.className = "lane-part coming";
      now.hidden = coming?.side !== side;
      if (!now.hidden) lay(now, coming.start, coming.stop, this.steps());
      lane.replaceChildren(end, ...parts, now);
    });
  }

  tell(words) {
    this.querySelector("[data-marked]").textContent = words;
  }

  note(words) {
    this.dispatchEvent(new CustomEvent("kibitz:note", { bubbles: true, detail: words }));
  }
}

customElements.define("clip-pair", ClipPair);
