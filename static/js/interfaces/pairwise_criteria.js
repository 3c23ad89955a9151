// Judging a pair by criteria too. While the row is open the digits answer the criterion that is marked, and an answer
// leads to the next; after the last one, and when C closes the row, they are the verdict's again.

const OPEN = "kibitz.criteria";

export class Criteria {
  constructor(details, scale) {
    this.details = details;
    this.scale = scale;
    this.rows = [...details.querySelectorAll("[data-criterion]")];
    this.required = details.hasAttribute("data-required");
    // A person's way of working stays from task to task.
    if (localStorage.getItem(OPEN) === "1") details.open = true;
    details.querySelector("summary").addEventListener("click", (event) => this.pressed(event));
    for (const row of this.rows) {
      row.addEventListener("focusin", () => this.turnTo(row));
      row.addEventListener("click", (event) => this.answered(event, row));
      row.addEventListener("change", () => this.count());
    }
    // A verdict that the browser refuses, because a criterion is still open, must show which.
    details.addEventListener("invalid", () => { details.open = true; }, { capture: true });
    this.start();
  }

  start() {
    this.turnTo(this.details.open ? this.unjudged() : null);
    this.count();
  }

  judged(row) {
    return Boolean(row.querySelector(":checked")?.value);
  }

  unjudged(after = -1) {
    return this.rows.slice(after + 1).find((row) => !this.judged(row)) ?? null;
  }

  pressed(event) {
    const opens = !this.details.open;
    // Needed criteria stay in sight: C then only leads back to them.
    if (this.required) event.preventDefault();
    else localStorage.setItem(OPEN, opens ? "1" : "0");
    this.turnTo(opens || this.required ? this.unjudged() ?? this.rows[0] : null);
  }

  /** The digits press the points of this criterion from now on; without one, those of the verdict. */
  turnTo(current) {
    for (const row of this.rows) {
      row.classList.toggle("current", row === current);
      for (const point of row.querySelectorAll("input")) {
        if (row === current) point.dataset.key = point.dataset.digit;
        else delete point.dataset.key;
      }
    }
    for (const cell of this.scale.querySelectorAll("[data-key], [data-digit]")) {
      if (/^\d$/.test(cell.dataset.key ?? "")) cell.dataset.digit = cell.dataset.key;
      if (current && cell.dataset.digit) delete cell.dataset.key;
      else if (cell.dataset.digit) cell.dataset.key = cell.dataset.digit;
    }
    this.scale.classList.toggle("later", Boolean(current));
  }

  /** A digit or the mouse answers and goes on; the arrows, which choose by passing, stay where they are. */
  answered(event, row) {
    const byArrow = event.isTrusted && event.detail === 0;
    if (!event.target.matches("input") || byArrow) return;
    const next = this.rows[this.rows.indexOf(row) + 1] ?? (this.required ? this.unjudged() : null);
    this.turnTo(next);
    next?.scrollIntoView({ block: "nearest" });
    this.count();
    // The focus goes back to the question, where no key is taken by a row.
    this.details.closest("form").querySelector(".stage").focus({ preventScroll: true });
  }

  count() {
    const judged = this.rows.filter((row) => this.judged(row)).length;
    this.details.querySelector("[data-left]").textContent = `${judged} of ${this.rows.length} judged`;
  }
}
