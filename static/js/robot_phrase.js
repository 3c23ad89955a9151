// What is in the box and what it was understood as, from the first letter to Enter. Pure.
//
// Nothing is guessed: Enter sends the command that is shown, waits where the answer is still on its way, and does
// nothing where the phrase was unclear. What was understood of an earlier text never counts for a later one.

export class Phrase {
  text = "";
  command = null; // as understood
  chosen = null; // as the person wants it instead
  ask = "";
  others = [];
  impatient = false; // Enter was pressed before the answer came
  #asked = null; // the ref of the question that is on its way, or was answered
  #answered = false;

  constructor(ref) {
    this.ref = ref;
  }

  /** The command that Enter would send; null where there is none. */
  get meant() {
    return this.chosen ?? this.command;
  }

  get unclear() {
    return this.#answered && this.meant === null;
  }

  /** The text has changed. Returns the question to ask the server, or null for an empty box. */
  type(text) {
    Object.assign(this, { text, command: null, chosen: null, ask: "", others: [], impatient: false });
    this.#answered = false;
    this.#asked = text.trim() ? this.ref() : null;
    return this.#asked && { ref: this.#asked, text };
  }

  /** The connection is back: the question again, if there is one without an answer. */
  again() {
    return this.#asked && !this.#answered ? { ref: this.#asked, text: this.text } : null;
  }

  /** An answer. Returns what is to be said now, where Enter was pressed already. */
  understand({ ref, command = null, ask = "", others = [] }) {
    if (ref !== this.#asked) return null;
    this.#answered = true;
    Object.assign(this, { command, ask, others });
    return this.impatient ? this.enter() : null;
  }

  choose(command) {
    this.chosen = command;
  }

  /** What is to be said, as { text, command }; null where it is not clear yet. */
  enter() {
    if (!this.text.trim()) return null;
    if (this.meant === null) {
      this.impatient = !this.#answered;
      return null;
    }
    const said = { text: this.text, command: this.meant };
    this.type("");
    return said;
  }
}
