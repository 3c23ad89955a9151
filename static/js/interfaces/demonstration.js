// Writing an answer: a quiet count of words, the Markdown as it will be read, and rounds that come and go.
//
// Every round stands in the form from the beginning. Those that are not in use are hidden and empty, so that the form's
// own fields are all the state there is.

import { foldPrompt } from "./prompt.js";

const PAUSE = 300;
const segments = globalThis.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "word" }) : null;

/** How many words a text has, in scripts without spaces too. */
export function countWords(text) {
  if (!segments) return text.split(/\s+/).filter(Boolean).length;
  let count = 0;
  for (const { isWordLike } of segments.segment(text)) count += isWordLike ? 1 : 0;
  return count;
}

function cookie(name) {
  return document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1] ?? "";
}

class DemonstrationAnswer extends HTMLElement {
  connectedCallback() {
    if (this.rounds) return;
    this.form = this.closest("form");
    this.rounds = [...this.querySelectorAll("[data-round]")];
    this.more = this.querySelector("[data-more]");
    this.removed = []; // what stood in the rounds that were taken out, so that one more brings it back
    foldPrompt(this.querySelector(".prompt"));
    this.classList.add("alive");
    this.querySelector(".preview").hidden = false;
    for (const field of this.fields()) {
      field.addEventListener("input", () => this.changed(field));
      field.addEventListener("focus", () => this.preview(field, 0));
    }
    const write = this.form.querySelector("[data-write]");
    write.hidden = false;
    write.addEventListener("click", () => this.write());
    this.form.querySelector(".scale-send .primary").addEventListener("click", (event) => this.check(event));
    this.form.addEventListener("kibitz:shown", (event) => {
      if (event.detail.focus) this.write();
    });
    this.form.addEventListener("kibitz:restored", () => this.restore());
    if (this.more) {
      this.more.open = true;
      this.querySelector("[data-tools]").hidden = false;
      this.action("add_round").addEventListener("click", () => this.add());
      this.action("remove_round").addEventListener("click", () => this.remove());
    }
    this.restore();
  }

  action(name) {
    return this.form.querySelector(`[data-action="${name}"]`);
  }

  fields(within = this) {
    return [...within.querySelectorAll(".round textarea")];
  }

  /** Draws all of it from what stands in the fields. */
  restore() {
    const written = this.rounds.findLastIndex((round) => this.fields(round).some((field) => field.value.trim()));
    this.use(Math.max(1, written + 1));
    for (const field of this.fields()) this.count(field);
    this.preview(this.fields().find((field) => field.value.trim()) ?? this.fields()[0], 0);
  }

  /** Writes on where something is missing, or at the end. */
  write() {
    const shown = this.shown();
    const field = shown.find((one) => !one.value.trim()) ?? shown.at(-1);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }

  // --- rounds

  shown() {
    return this.rounds.slice(0, this.used).flatMap((round) => this.fields(round));
  }

  use(count) {
    this.used = count;
    for (const [at, round] of this.rounds.entries()) round.hidden = at >= count;
    if (!this.more) return;
    this.action("add_round").disabled = count === this.rounds.length;
    this.action("remove_round").disabled = count === 1;
  }

  add() {
    this.use(this.used + 1);
    const round = this.rounds[this.used - 1];
    const kept = this.removed.pop() ?? [];
    for (const [at, field] of this.fields(round).entries()) {
      if (kept[at]) this.fill(field, kept[at]);
    }
    this.fields(round)[0].focus();
    round.scrollIntoView({ block: "nearest" });
    this.tell(`Round ${this.used} of at most ${this.rounds.length}.`);
  }

  remove() {
    const fields = this.fields(this.rounds[this.used - 1]);
    const had = fields.map((field) => field.value);
    this.removed.push(had);
    for (const field of fields) this.fill(field, "");
    this.use(this.used - 1);
    this.preview(this.shown().at(-1), 0);
    this.tell(`Round ${this.used + 1} is out.`);
    if (had.some((text) => text.trim())) this.note("Taken out. One more round brings its words back.");
    if (this.action("remove_round").disabled) this.action("add_round").focus();
  }

  /** As if it had been typed: whoever keeps drafts of the form hears of it. */
  fill(field, text) {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  tell(words) {
    this.querySelector("[data-rounds]").textContent = words;
  }

  note(words) {
    this.dispatchEvent(new CustomEvent("kibitz:note", { bubbles: true, detail: words }));
  }

  // --- while one writes

  changed(field) {
    field.removeAttribute("aria-invalid");
    this.count(field);
    this.preview(field, PAUSE);
  }

  count(field) {
    const words = countWords(field.value);
    field.closest(".said").querySelector("[data-count]").textContent =
      words === 0 ? "" : `${words} ${words === 1 ? "word" : "words"}`;
  }

  check(event) {
    // What begins the chat must be there; of what follows, all up to the last field with something in it.
    const shown = this.shown();
    const last = shown.findLastIndex((field) => field.value.trim());
    const needed = shown.slice(0, Math.max(last, this.fields(this.rounds[0]).length - 1) + 1);
    if (needed.length < shown.length && shown[last]?.name.startsWith("user")) needed.push(shown[last + 1]);
    const missing = needed.find((field) => !field.value.trim());
    if (!missing) return;
    event.preventDefault();
    missing.setAttribute("aria-invalid", "true");
    missing.focus();
    const number = Number(missing.closest("[data-round]").dataset.round);
    const where = this.more ? ` of round ${number}` : "";
    this.note(`${missing.dataset.who}${where} is empty. Write it${number > 1 ? ", take the round out" : ""}, or skip.`);
  }

  /** Shows a field as it will be read, after a pause in the typing; a newer text overtakes an older one. */
  preview(field, pause) {
    clearTimeout(this.pausing);
    this.asking?.abort();
    this.querySelector("[data-previewed]").textContent = this.more
      ? `round ${field.closest("[data-round]").dataset.round}, ${field.name.startsWith("user") ? "the user" : "the answer"}`
      : "";
    if (!field.value.trim()) {
      this.draw("");
      return;
    }
    this.pausing = setTimeout(() => this.ask(field.value), pause);
  }

  async ask(text) {
    this.asking = new AbortController();
    try {
      const reply = await fetch(this.dataset.preview, {
        method: "POST",
        body: new URLSearchParams({ guidelines: text }),
        headers: { "X-CSRFToken": cookie("csrftoken") },
        credentials: "same-origin",
        redirect: "manual",
        signal: this.asking.signal,
      });
      if (!reply.ok) throw new Error(reply.status);
      this.draw(await reply.text());
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.draw("");
      this.querySelector("[data-previewed]").textContent = "comes back with the connection; what you write is kept";
    }
  }

  /** The server's HTML, rendered and sanitised there as everywhere. */
  draw(html) {
    this.querySelector("[data-shown]").innerHTML = html;
  }
}

customElements.define("demonstration-answer", DemonstrationAnswer);
