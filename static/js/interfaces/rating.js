// Rating by several criteria: the digits belong to one criterion at a time, and an answer leads to the next.

import { foldPrompt } from "./prompt.js";

class RatingAnswer extends HTMLElement {
  connectedCallback() {
    if (!this.criteria) {
      this.form = this.closest("form");
      this.criteria = [...this.querySelectorAll(".criterion")];
      this.left = this.form.querySelector("[data-left]");
      foldPrompt(this.querySelector(".prompt"));
      for (const criterion of this.criteria) {
        criterion.addEventListener("focusin", () => this.turnTo(criterion));
        criterion.addEventListener("click", (event) => this.pressed(event, criterion));
        criterion.addEventListener("change", () => this.count());
      }
      this.form.addEventListener("kibitz:restored", () => this.begin());
    }
    this.begin();
  }

  /** Where one goes on: at the first criterion that is open. */
  begin() {
    if (this.criteria.length === 0) return;
    this.turnTo(this.open() ?? this.criteria[0]);
    this.count();
  }

  /** The first criterion without an answer, looking on from `after` and then from the top. */
  open(after = -1) {
    const round = [...this.criteria.slice(after + 1), ...this.criteria.slice(0, after + 1)];
    return round.find((one) => !one.querySelector(":checked"));
  }

  /** The digits press the points of this criterion from now on. */
  turnTo(criterion) {
    this.current = criterion;
    for (const one of this.criteria) {
      one.classList.toggle("current", one === criterion);
      for (const point of one.querySelectorAll("input")) {
        if (one === criterion) point.dataset.key = point.value;
        else delete point.dataset.key;
      }
    }
  }

  /** A digit or the mouse answers and goes on; the arrows, which choose by passing, stay where they are. */
  pressed(event, criterion) {
    const byArrow = event.isTrusted && event.detail === 0;
    if (!event.target.matches("input") || byArrow) return;
    const next = this.open(this.criteria.indexOf(criterion));
    if (next) {
      this.turnTo(next);
      next.querySelector("input").focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest" });
    } else {
      this.form.querySelector(".scale-send .primary").focus({ preventScroll: true });
    }
  }

  count() {
    const open = this.criteria.filter((one) => !one.querySelector(":checked")).length;
    this.left.textContent = open === 0 ? "Every criterion is judged." : `${open} of ${this.criteria.length} to judge`;
  }
}

customElements.define("rating-answer", RatingAnswer);
