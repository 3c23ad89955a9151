// The robot stands still while somebody types to it, unless they want it to go on: a phrase takes seconds to write, and
// what it was about is past by then. It goes on as soon as the phrase is sent or taken back.

const KEPT = "kibitz:robot-still";

export class Still {
  #holds = null; // whether it stands still for what is in the box; null while that is empty

  /** `may()`: whether it runs and is ours to stop. */
  constructor(root, { may, pause, resume }) {
    this.wanted = root.querySelector("[data-show=still]");
    Object.assign(this, { may, pause, resume });
    this.wanted.checked = localStorage.getItem(KEPT) !== "no";
    this.wanted.addEventListener("change", () => {
      localStorage.setItem(KEPT, this.wanted.checked ? "yes" : "no");
      if (!this.wanted.checked) this.over();
    });
  }

  /** The first letter decides. */
  typed(text) {
    if (!text.trim()) return this.over();
    if (this.#holds !== null) return;
    this.#holds = this.wanted.checked && this.may();
    if (this.#holds) this.pause();
  }

  /** The phrase is sent, or taken back. */
  over() {
    if (this.#holds) this.resume();
    this.#holds = null;
  }

  /** Somebody has stopped it or let it go on by hand: it is theirs to say until the box is empty. */
  yield() {
    if (this.#holds) this.#holds = false;
  }
}
