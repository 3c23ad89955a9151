// Criticising an answer: a caret in its text marks stretches, a digit says what is wrong with each.
//
// All that is said stands in the form: the stretches as JSON in a hidden field, the rest in its own fields. What is
// drawn is made from those, every time. Positions in the field are characters as the server counts them (code points);
// positions here are JavaScript's (UTF-16), and `Marks` is where the one becomes the other.

import { foldPrompt } from "./prompt.js";
import { Caret } from "./critique_caret.js";
import { Marks } from "./critique_marks.js";

const EXCERPT = 90;
const BESIDE = matchMedia("(min-width: 900px)");

function make(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

class CritiqueAnswer extends HTMLElement {
  connectedCallback() {
    if (!this.marks) this.begin();
    this.listening = new AbortController();
    const { signal } = this.listening;
    document.addEventListener("selectionchange", () => this.caret.follow(), { signal });
    window.addEventListener("resize", () => this.caret.draw(), { signal });
    this.redraw();
  }

  disconnectedCallback() {
    this.listening.abort();
  }

  begin() {
    this.form = this.closest("form");
    this.field = this.querySelector("input[name=spans]");
    this.text = this.querySelector("[data-text]");
    this.list = this.querySelector("[data-list]");
    this.cells = [...this.form.querySelectorAll("[data-type]")];
    this.types = new Map(
      this.cells.map((cell, at) => [cell.dataset.type, { label: cell.dataset.label, number: at + 1 }]),
    );
    this.marks = new Marks(this.text, (type) => this.types.get(type)?.number ?? 0);
    this.caret = new Caret(this.text, (words) => this.tell(words));
    foldPrompt(this.querySelector(".prompt"));
    this.classList.add("alive");
    this.querySelector("[data-rows]").remove(); // the form without script; its fields would be sent beside ours
    for (const part of this.form.querySelectorAll("[data-alive]")) part.hidden = false;
    this.text.setAttribute("role", "textbox");
    this.text.setAttribute("aria-multiline", "true");
    this.text.setAttribute("aria-readonly", "true");
    this.field.value ||= this.field.dataset.said;

    this.text.addEventListener("keydown", (event) => this.pressed(event));
    this.list.addEventListener("keydown", (event) => this.pressedInList(event));
    this.list.addEventListener("focusin", (event) => this.point(event.target.closest("[data-span]")));
    this.list.addEventListener("focusout", () => this.point(null));
    this.list.addEventListener("input", (event) => this.edited(event));
    this.list.addEventListener("click", (event) => this.clicked(event));
    for (const cell of this.cells) {
      cell.addEventListener("mousedown", (event) => event.preventDefault()); // what is marked stays marked
      cell.addEventListener("click", () => this.say(cell.dataset.type));
    }
    this.action("mark").addEventListener("click", () => this.text.focus());
    this.action("sentence").addEventListener("mousedown", (event) => event.preventDefault());
    this.action("sentence").addEventListener("click", () => this.caret.sentence());
    const rewrite = this.querySelector(".critique-rewrite");
    rewrite?.addEventListener("toggle", () => rewrite.scrollIntoView({ block: "nearest" }));
    this.action("fine").addEventListener("click", (event) => this.checkFine(event));
    this.form.querySelector("[data-send]").addEventListener("click", (event) => this.check(event));
    this.form.addEventListener("kibitz:restored", () => this.redraw());
    this.form.addEventListener("kibitz:shown", (event) => {
      if (event.detail.focus) this.text.focus({ preventScroll: true });
    });
  }

  action(name) {
    return this.form.querySelector(`[data-action="${name}"]`);
  }

  // --- what is said, as the form's field has it

  spans() {
    return JSON.parse(this.field.value || "[]");
  }

  /** As if it had been typed: whoever keeps drafts of the form hears of it. */
  keep(spans) {
    this.field.value = JSON.stringify(spans.sort((a, b) => a.start - b.start || a.end - b.end));
    this.field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // --- what the person does

  pressed(event) {
    if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      const { start } = this.caret.stretch();
      const at = this.spans().findLastIndex((span) => this.marks.holds(span, start));
      if (at >= 0) this.card(at).querySelector("[data-show]").focus();
      else this.tell("Nothing is marked here.");
      event.preventDefault();
      return;
    }
    this.caret.press(event);
  }

  /** A digit: the stretch in hand is of this type; or, in the list, the one that has the focus becomes it. */
  say(type) {
    const card = document.activeElement?.closest?.("[data-span]");
    if (card && this.list.contains(card)) {
      this.change(Number(card.dataset.span), { type });
      this.tell(`Now ${this.types.get(type).label}.`);
      return;
    }
    const stretch = this.marks.trimmed(this.caret.stretch());
    if (stretch.start === stretch.end) {
      this.note("Mark a stretch of the answer first: Shift with the arrows, X for the sentence, or the mouse.");
      return;
    }
    const span = this.marks.spanOf(stretch, type);
    const spans = this.spans();
    if (spans.some((one) => one.start === span.start && one.end === span.end && one.type === type)) {
      this.tell("That is marked already.");
      return;
    }
    this.keep([...spans, span]);
    this.caret.collapse(stretch.end);
    this.redraw();
    this.tell(`Marked as ${this.types.get(type).label}: ${this.excerpt(span)}. ${spans.length + 1} in all.`);
  }

  change(at, what) {
    const spans = this.spans();
    Object.assign(spans[at], what);
    this.keep(spans);
    if (!("note" in what)) this.redraw(at);
  }

  remove(at) {
    const spans = this.spans();
    const [gone] = spans.splice(at, 1);
    this.keep(spans);
    this.redraw();
    this.tell(`Removed: ${this.excerpt(gone)}. ${spans.length} left.`);
    if (spans.length > 0) this.card(Math.min(at, spans.length - 1)).querySelector("[data-show]").focus();
    else this.text.focus();
  }

  pressedInList(event) {
    const card = event.target.closest("[data-span]");
    const writing = event.target.matches("input");
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    if (writing && (event.key === "Enter" || event.key === "Escape")) card.querySelector("[data-show]").focus();
    else if (event.target.matches("[data-show]") && event.key === "Enter") card.querySelector("input").focus();
    else if (event.target.matches("[data-show], [data-remove]") && ["Backspace", "Delete"].includes(event.key)) {
      this.remove(Number(card.dataset.span));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  edited(event) {
    const at = Number(event.target.closest("[data-span]").dataset.span);
    if (event.target.matches("select")) {
      this.change(at, { type: event.target.value });
      this.card(at).querySelector("select").focus();
    } else this.change(at, { note: event.target.value });
  }

  clicked(event) {
    const card = event.target.closest("[data-span]");
    if (event.target.closest("[data-remove]")) this.remove(Number(card.dataset.span));
    else if (event.target.closest("[data-show]")) this.marks.show(Number(card.dataset.span));
  }

  /** The stretch whose line in the list has the focus stands out in the text. */
  point(card) {
    const at = card ? Number(card.dataset.span) : -1;
    this.marks.point(at);
    if (at >= 0 && BESIDE.matches) this.marks.show(at); // under the text, that would scroll the line away
  }

  check(event) {
    const said = ["missing", "note"].some((name) => this.querySelector(`textarea[name="${name}"]`)?.value.trim());
    const rewrite = this.querySelector("textarea[name=rewrite]")?.value ?? "";
    const rewritten = rewrite.trim() && rewrite !== this.marks.text.replaceAll("\r\n", "\n");
    if (this.spans().length > 0 || said || rewritten) return;
    event.preventDefault();
    this.note("Nothing is marked. Mark what is wrong, say that no problem was found (N), or skip.");
  }

  checkFine(event) {
    const found = this.spans().length;
    const missing = this.querySelector("textarea[name=missing]")?.value.trim();
    if (!found && !missing) return;
    event.preventDefault();
    this.note(
      found
        ? `${found} ${found === 1 ? "stretch is" : "stretches are"} marked: remove ${found === 1 ? "it" : "them"}, or send.`
        : "Something is missing, you wrote: take that out, or send.",
    );
  }

  note(words) {
    this.dispatchEvent(new CustomEvent("kibitz:note", { bubbles: true, detail: words }));
  }

  tell(words) {
    this.querySelector("[data-told]").textContent = words;
  }

  // --- what is drawn

  excerpt(span) {
    const words = this.marks.quote(span).trim().replace(/\s+/g, " ");
    return `“${words.length > EXCERPT ? `${words.slice(0, EXCERPT - 1)}…` : words}”`;
  }

  card(at) {
    return this.list.querySelector(`[data-span="${at}"]`);
  }

  redraw(focus = -1) {
    const spans = this.spans();
    this.marks.draw(spans);
    this.caret.restore();
    this.list.replaceChildren(...spans.map((span, at) => this.line(span, at)));
    this.querySelector("[data-count]").textContent = spans.length;
    this.querySelector("[data-none]").hidden = spans.length > 0;
    if (focus >= 0) this.card(focus).querySelector("[data-show]").focus();
  }

  line(span, at) {
    const { label, number } = this.types.get(span.type) ?? { label: span.type, number: 0 };
    const line = make("li", `span-card type-${number}`);
    line.dataset.span = at;
    const show = make("button", "span-quote");
    show.type = "button";
    show.dataset.show = "";
    const quote = make("bdi", "", this.excerpt(span));
    show.append(make("b", "span-number", number || "?"), quote);
    show.setAttribute("aria-label", `${label}: ${this.excerpt(span)}${span.note ? `, ${span.note}` : ""}`);
    show.setAttribute("aria-keyshortcuts", "Enter Backspace");
    const select = make("select", "");
    select.setAttribute("aria-label", `Type of stretch ${at + 1}`);
    for (const [key, type] of this.types) select.append(new Option(`${type.number} ${type.label}`, key));
    if (!this.types.has(span.type)) select.append(new Option(span.type, span.type));
    select.value = span.type;
    const note = make("input", "");
    Object.assign(note, { value: span.note, placeholder: "Note", maxLength: 5000, autocomplete: "off", dir: "auto" });
    note.setAttribute("aria-label", `Note on stretch ${at + 1}`);
    const remove = make("button", "quiet small", "✕");
    remove.type = "button";
    remove.dataset.remove = "";
    remove.title = "Remove (Backspace)";
    remove.setAttribute("aria-label", `Remove stretch ${at + 1}`);
    line.append(show, select, note, remove);
    return line;
  }
}

customElements.define("critique-answer", CritiqueAnswer);
