// The box, and what it was understood as: the chip that Enter sends, or the question back with what may have been meant.

import { Phrase } from "./robot_phrase.js";

const PAUSE = 90; // ms without a key before the server is asked

export class Say {
  #timer = null;
  #bank = [];

  /** `ask({ref, text})` asks the server; `say({text, command})` tells the robot. */
  constructor(root, { ask, say }) {
    this.box = root.querySelector("#say");
    this.form = root.querySelector(".robot-box");
    this.meant = root.querySelector("#meant");
    this.show = (name) => root.querySelector(`[data-show="${name}"]`);
    Object.assign(this, { ask, say });
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

  // Push to talk, where the browser can listen. What it heard stands in the box like anything typed.
  #wireTalk(button) {
    const Recognition = window.SpeechRecognition ?? window.webkitSpeechRecognition;
    if (!Recognition) return;
    button.hidden = false;
    let ear = null;
    const listen = () => {
      if (ear) return;
      ear = Object.assign(new Recognition(), { lang: "en-US", interimResults: true });
      ear.onresult = ({ results }) => this.write([...results].map(([best]) => best.transcript).join(" ").trim());
      ear.onerror = ({ error }) => {
        this.show("unclear").hidden = false;
        this.show("unclear").textContent = `The browser could not listen (${error}). Type it instead.`;
      };
      ear.onend = () => {
        ear = null;
        button.classList.remove("listening");
        this.focus();
      };
      button.classList.add("listening");
      ear.start();
    };
    const stop = () => ear?.stop();
    button.addEventListener("pointerdown", listen);
    for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) button.addEventListener(end, stop);
    button.addEventListener("keydown", ({ code, repeat }) => {
      if (code === "Space" && !repeat) listen();
    });
    button.addEventListener("keyup", ({ code }) => code === "Space" && stop());
  }
}
