// The table of keys in the drawer: press "change", then the new key. What is taken is refused in words, and the
// account keeps the rest, for every browser this person uses.

import { request } from "./label_request.js";

const MODIFIERS = ["shift", "control", "alt", "meta", "capslock", "altgraph", "dead"];

class KeyTable extends HTMLElement {
  connectedCallback() {
    if (this.rows) return;
    this.rows = [...this.querySelectorAll("[data-row]")];
    this.said = this.querySelector("[data-said]");
    this.hear = this.hear.bind(this);
    for (const row of this.rows) {
      const button = row.querySelector("[data-change]");
      button.hidden = false;
      button.addEventListener("click", () => this.ask(row));
    }
    const reset = this.querySelector("[data-reset]");
    reset.hidden = false;
    reset.addEventListener("click", () => this.save({ reset: "1" }, "These are the default keys again."));
    this.closest("details")?.addEventListener("toggle", () => this.stop());
  }

  ask(row) {
    this.stop();
    this.asking = row;
    row.classList.add("asking");
    this.say(`Press the new key for: ${this.does(row)}. Esc leaves it as it is.`);
    document.addEventListener("keydown", this.hear, { capture: true });
  }

  stop() {
    this.asking?.classList.remove("asking");
    this.asking = null;
    document.removeEventListener("keydown", this.hear, { capture: true });
  }

  /** The next key is the answer, and presses nothing else. */
  hear(event) {
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey || event.altKey || MODIFIERS.includes(key)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const row = this.asking;
    if (key === "escape") {
      this.stop();
      this.say("Left as it was.");
      return;
    }
    const problem = this.problemWith(key, row);
    if (problem) {
      this.say(`${problem} Press another, or Esc.`, true);
      return;
    }
    this.stop();
    this.save({ [row.dataset.row]: key }, `${key.toUpperCase()} is now: ${this.does(row)}.`);
  }

  problemWith(key, row) {
    if (/^\p{Nd}$/u.test(key)) return `${key} is a digit, and digits answer.`;
    if ([...key].length !== 1 || !key.trim()) return `${key.trim() || "Space"} cannot be given away; choose a character.`;
    const kinds = row.dataset.kinds.split(" ");
    const holder = this.rows.find(
      (other) =>
        other !== row && other.dataset.now === key && other.dataset.kinds.split(" ").some((kind) => kinds.includes(kind)),
    );
    return holder ? `${key.toUpperCase()} is taken: ${this.does(holder)}.` : "";
  }

  async save(fields, words) {
    let reply;
    try {
      reply = await request(this.dataset.url, fields);
    } catch {
      this.say("The server cannot be reached, so the key was not changed.", true);
      return;
    }
    if (reply.status !== 200) {
      this.say(reply.body?.error?.message ?? "You are signed out, so the key was not changed.", true);
      return;
    }
    const { keys } = reply.body;
    for (const row of this.rows) {
      const key = keys[row.dataset.row] ?? row.dataset.default;
      row.dataset.now = key;
      row.querySelector("kbd").textContent = key.toUpperCase();
    }
    this.say(words);
    document.dispatchEvent(new CustomEvent("kibitz:keys", { detail: keys }));
  }

  does(row) {
    return row.querySelector("[data-does]").textContent;
  }

  say(words, bad = false) {
    this.said.textContent = words;
    this.said.classList.toggle("bad", bad);
  }
}

customElements.define("key-table", KeyTable);
