// The questions of a qualification: after each one hears at once whether the answer was right and why, and goes on
// by a key. The question stays in sight meanwhile.

import { element } from "./label_request.js";

const STANDINGS = {
  passed: "You passed: the real questions come next.",
  failed: "You did not pass. A researcher decides whether you may try again.",
};

export class Told {
  /** `room` is the <label-task>. */
  constructor(room) {
    this.room = room;
    this.key = null; // of the answer that one waits to hear about
  }

  get open() {
    return this.key !== null;
  }

  /** The answer is on its way: says so in the bar, where the word about it will stand. */
  wait(entry, form) {
    this.key = entry.key;
    this.panel = element(
      `<section class="feedback" aria-label="How it went"><div role="status"><p data-verdict>Checking your answer…</p>
        <p class="hint" data-progress></p></div>
        <button type="button" class="primary" data-own-key="enter">Go on <kbd>Enter</kbd></button></section>`,
    );
    this.panel.querySelector("button").addEventListener("click", () => this.goOn());
    for (const part of form.querySelectorAll(".scale, .decide-rest")) part.inert = true;
    form.querySelector(".decide").append(this.panel);
    this.panel.querySelector("button").focus({ preventScroll: true });
  }

  /** The server has an answer, and may have said how it went. */
  hear(entry, body) {
    if (entry.key !== this.key) return;
    if (!body?.feedback) {
      this.goOn();
      return;
    }
    const { feedback, progress } = body;
    this.panel.classList.add(feedback.right ? "right" : "wrong");
    this.panel.querySelector("[data-verdict]").textContent = feedback.words;
    this.panel.querySelector("[data-progress]").textContent =
      `${progress.done} of ${progress.of} answered, ${progress.right} right. ${STANDINGS[progress.standing] ?? ""}`;
  }

  /** What the server did not take has nothing to hear about: it stands above, with what to do. */
  check() {
    if (this.open && this.room.outbox.refused().some((entry) => entry.key === this.key)) this.goOn();
  }

  goOn() {
    this.key = null;
    this.panel.remove();
    this.room.next();
  }
}
