// What people said, newest first: shown the moment it is sent, and then as the server tells what came of it.

import { saySteps } from "./robot_track.js";

const STATES = {
  sending: ["sending …", ""],
  unsent: ["not sent: the connection broke", "bad"],
  refused: ["not taken", "bad"],
  waiting: ["stored; it obeys at the next step", ""],
  in_force: ["in force", "accent"],
  over: ["obeyed", "good"],
  lost: ["stored, but the episode ended first", "warn"],
};

export class Log {
  #entries = new Map(); // ref -> { entry, node }

  constructor(root, { changed }) {
    this.list = root.querySelector("[data-show=log]");
    this.count = root.querySelector("[data-show=told-count]");
    this.none = root.querySelector("[data-show=log-none]");
    this.changed = changed;
  }

  clear() {
    this.#entries.clear();
    this.list.replaceChildren();
    this.#number();
  }

  get(ref) {
    return this.#entries.get(ref)?.entry;
  }

  /** What is new about a correction: { ref, text, command, status, start, stop, by, why }. */
  tell(news) {
    const known = this.#entries.get(news.ref);
    const held = known ?? { entry: {}, node: this.#line() };
    const before = held.entry.status;
    // What the server said stays: an echo of our own must not undo it.
    if (known && news.status === "sending") return;
    Object.assign(held.entry, Object.fromEntries(Object.entries(news).filter(([, value]) => value !== undefined)));
    this.#entries.set(news.ref, held);
    this.#dress(held);
    this.#number();
    this.changed(held.entry, before);
  }

  #line() {
    const node = document.createElement("li");
    node.innerHTML = `<span class="said-command"></span> <span class="said-text hint"></span><span class="said-state hint"></span>`;
    this.list.prepend(node);
    return node;
  }

  #dress({ entry, node }) {
    const [words, tone] = STATES[entry.status] ?? [entry.status, ""];
    node.dataset.status = entry.status;
    node.className = tone;
    node.querySelector(".said-command").textContent = entry.command;
    const other = entry.text && entry.text !== entry.command;
    node.querySelector(".said-text").textContent = other ? `“${entry.text}”` : "";
    const steps = entry.start === null || entry.start === undefined ? "" : ` · ${saySteps(entry.start, entry.stop)}`;
    node.querySelector(".said-state").textContent = `${entry.by ? `${entry.by} · ` : ""}${entry.why || words}${steps}`;
  }

  #number() {
    const { size } = this.#entries;
    this.count.textContent = size || "";
    this.none.hidden = size > 0;
  }
}
