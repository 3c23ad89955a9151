// Rewriting an answer: what was changed shows while one writes, and a draft outlives the page.

import { diff, distance } from "../diff.js";
import { foldPrompt } from "./prompt.js";

const DRAFT = "kibitz.draft.";
const OLD = 14 * 24 * 3600_000;

/** Drafts of tasks that went to others long ago are swept away. */
function sweep() {
  for (const name of Object.keys(localStorage).filter((one) => one.startsWith(DRAFT))) {
    if (Date.now() - (JSON.parse(localStorage.getItem(name)).at ?? 0) > OLD) localStorage.removeItem(name);
  }
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

class EditAnswer extends HTMLElement {
  connectedCallback() {
    if (this.editor) return;
    this.form = this.closest("form");
    this.editor = this.querySelector("textarea");
    this.original = this.querySelector("[data-original]").textContent;
    this.send = this.form.querySelector(".scale-send .primary");
    this.room = this.closest("label-task");
    this.draft = `${DRAFT}${this.room.dataset.annotator}.${this.form.dataset.task}`;
    foldPrompt(this.querySelector(".prompt"));
    sweep();
    const kept = localStorage.getItem(this.draft);
    if (kept) this.editor.value = JSON.parse(kept).text;
    this.editor.addEventListener("input", () => this.changed());
    this.form.addEventListener("submit", () => localStorage.removeItem(this.draft));
    this.form.addEventListener("kibitz:shown", (event) => {
      if (event.detail.focus) this.write();
    });
    const write = this.form.querySelector("[data-tool=write]");
    write.hidden = false;
    write.addEventListener("click", () => this.write());
    this.redraw();
  }

  write() {
    this.editor.focus();
    this.editor.setSelectionRange(this.editor.value.length, this.editor.value.length);
  }

  changed() {
    try {
      localStorage.setItem(this.draft, JSON.stringify({ text: this.editor.value, at: Date.now() }));
    } catch {
      this.dispatchEvent(
        new CustomEvent("kibitz:note", { bubbles: true, detail: "This browser keeps no drafts: send before you leave." }),
      );
    }
    // One redraw a frame, however fast one types.
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      this.redraw();
    });
  }

  redraw() {
    const text = this.editor.value;
    const same = text === this.original;
    this.editor.setCustomValidity(
      same ? "Nothing was changed. Change what could be better, or skip (Esc, then S)." : text.trim() ? "" : "Write the better answer, or skip (Esc, then S).",
    );
    const { removed, added } = distance(this.original, text);
    const time = clock(this.room.current?.clock.seconds() ?? 0);
    this.querySelector("[data-distance]").textContent = same
      ? "not changed yet"
      : `${removed} ${removed === 1 ? "word" : "words"} out, ${added} in · ${time}`;
    this.querySelector(".answer-diff").hidden = false;
    this.querySelector("[data-diff]").replaceChildren(
      ...diff(this.original, text).map((part) => {
        if (part.kind === "same") return part.text;
        const mark = document.createElement(part.kind === "added" ? "ins" : "del");
        mark.textContent = part.text;
        return mark;
      }),
    );
  }
}

customElements.define("edit-answer", EditAnswer);
