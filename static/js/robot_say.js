// The box, and what it was understood as: the chip that Enter sends, or the question back with what may have been meant.

import { listener } from "./robot_ear.js";
import { Phrase } from "./robot_phrase.js";

const PAUSE = 90; // ms without a key before the server is asked
const DEAF = {
  "no-speech": "Nothing was heard. Hold the button for as long as you speak.",
  "audio-capture": "No microphone was found. Type it instead.",
  "not-allowed": "The browser may not use the microphone here. Allow it in its settings of this site, or type it.",
  network: "The browser’s speech recognition cannot be reached. Type it instead.",
};

export class Say {
  #timer = null;
  #bank = [];

  /** `typed(text)` hears of every change of the box; `ask({ref, text})` asks the server; `say({text, command})` tells
   *  the robot. */
  constructor(root, { typed, ask, say }) {
    this.box = root.querySelector("#say");
    this.form = root.querySelector(".robot-box");
    this.meant = root.querySelector("#meant");
    this.show = (name) => root.querySelector(`[data-show="${name}"]`);
    Object.assign(this, { typed, ask, say });
    this.phrase = new Phrase(() => crypto.randomUUID());
    this.box.addEventListener("input", () => this.#typed());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.enter();
    });
    this.meant.addEventListener("change", () => {
      this.phrase.choose(this.meant.value);
      this.#dress();
      this.focus();
    });
    this.meant.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        this.enter();
      }
    });
    this.#wireTalk(root.querySelector("[data-do=talk]"));
  }

  set bank(commands) {
    this.#bank = commands;
  }

  get empty() {
    return this.box.value === "";
  }

  focus() {
    this.box.focus({ preventScroll: true });
  }

  clear() {
    this.box.value = "";
    this.#typed();
  }

  write(text) {
    this.box.value = text;
    this.#typed();
  }

  enter() {
    if (this.#timer !== null) this.#question(); // Enter came before the pause did
    this.#send(this.phrase.enter());
    this.#dress();
    this.focus();
  }

  hear(answer) {
    this.#send(this.phrase.understand(answer));
    this.#dress();
  }

  /** The connection is back. */
  again() {
    const question = this.phrase.again();
    if (question) this.ask(question);
  }

  #typed() {
    this.typed(this.box.value);
    this.pending = this.phrase.type(this.box.value);
    clearTimeout(this.#timer);
    this.#timer = this.pending ? setTimeout(() => this.#question(), PAUSE) : null;
    this.#dress();
  }

  #question() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.ask(this.pending);
  }

  #send(said) {
    if (!said) return;
    this.box.value = "";
    clearTimeout(this.#timer);
    this.#timer = null;
    this.say(said);
    this.typed("");
  }

  #dress() {
    const { meant, unclear, ask, others, text, impatient } = this.phrase;
    const empty = !text.trim();
    const waiting = !empty && meant === null && !unclear;
    this.show("understood-none").hidden = !(empty || waiting);
    this.show("understood-none").textContent = impatient && waiting
      ? "Asking what it means; it is sent as soon as that is clear."
      : waiting ? "…" : "What it understands stands here before you send it.";
    this.show("understood").hidden = meant === null;
    if (meant !== null) this.#offer(meant, others);
    this.show("unclear").hidden = !unclear;
    this.show("unclear").textContent = unclear ? ask || "That is not clear. Say it in other words." : "";
    this.#chips(unclear ? others : []);
  }

  // Whatever else it may be: what the phrase may have meant, then what the policy knows.
  #offer(meant, others) {
    const commands = [...new Set([this.phrase.command, ...others, ...this.#bank])].filter(Boolean);
    if (!commands.includes(meant)) commands.unshift(meant);
    this.meant.replaceChildren(...commands.map((command) => new Option(command, command, false, command === meant)));
  }

  #chips(commands) {
    this.show("others").replaceChildren(
      ...commands.map((command) => {
        const chip = document.createElement("button");
        Object.assign(chip, { type: "button", className: "chip", textContent: command });
        chip.addEventListener("click", () => {
          this.phrase.choose(command);
          this.enter();
        });
        return chip;
      }),
    );
  }

  #complain(words) {
    this.show("understood-none").hidden = true;
    this.show("unclear").hidden = false;
    this.show("unclear").textContent = words;
  }

  // Push to talk, where the browser can listen. What it heard stands in the box like anything typed.
  #wireTalk(button) {
    const ear = listener({
      heard: (text) => this.write(text),
      failed: (error) => this.#complain(DEAF[error] ?? `The browser could not listen (${error}). Type it instead.`),
      began: () => button.classList.add("listening"),
      ended: () => {
        button.classList.remove("listening");
        this.focus();
      },
    });
    if (!ear) return;
    button.hidden = false;
    button.addEventListener("pointerdown", () => ear.hold());
    for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) button.addEventListener(end, () => ear.release());
    button.addEventListener("keydown", ({ code, repeat }) => code === "Space" && !repeat && ear.hold());
    button.addEventListener("keyup", ({ code }) => code === "Space" && ear.release());
  }
}
