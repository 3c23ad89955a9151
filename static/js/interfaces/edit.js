// Rewriting an answer: what was changed shows while one writes, and so does how it will look. The room keeps the draft.

import { changes } from "../diff.js";
import { rendered } from "../preview.js";
import { foldPrompt } from "./prompt.js";

// A comparison that takes longer than a frame waits for a pause in the writing.
const FRAME = 12;
const PAUSE = 250;

// Whoever looks at the rendered text goes on looking at it, from task to task.
const settings = { preview: localStorage.getItem("kibitz.preview") === "1" };

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

class EditAnswer extends HTMLElement {
  connectedCallback() {
    if (!this.editor) this.begin();
    this.redraw();
  }

  begin() {
    this.form = this.closest("form");
    this.editor = this.querySelector("textarea");
    this.original = this.querySelector("[data-original]").textContent;
    this.room = this.closest("label-task");
    foldPrompt(this.querySelector(".prompt"));
    this.editor.addEventListener("input", () => this.changed());
    this.form.addEventListener("kibitz:restored", () => this.redraw());
    this.form.addEventListener("kibitz:shown", (event) => {
      if (event.detail.focus) this.write();
    });
    const write = this.form.querySelector("[data-tool=write]");
    write.addEventListener("click", () => this.write());
    this.preview = this.form.querySelector("[data-tool=preview]");
    this.preview.addEventListener("click", () => {
      settings.preview = !settings.preview;
      localStorage.setItem("kibitz.preview", settings.preview ? "1" : "0");
      this.redraw();
    });
    for (const part of [write, this.preview, this.querySelector(".answer-diff")]) part.hidden = false;
  }

  write() {
    this.editor.focus();
    this.editor.setSelectionRange(this.editor.value.length, this.editor.value.length);
  }

  /** One redraw a frame, however fast one types; of long texts, one when the writing pauses. */
  changed() {
    this.check();
    clearTimeout(this.waiting);
    if (this.took > FRAME || settings.preview) this.waiting = setTimeout(() => this.redraw(), PAUSE);
    else this.drawing ??= requestAnimationFrame(() => this.redraw());
  }

  check() {
    const text = this.editor.value;
    const same = text === this.original;
    this.editor.setCustomValidity(
      same ? "Nothing was changed. Change what could be better, or skip (Esc, then S)." : text.trim() ? "" : "Write the better answer, or skip (Esc, then S).",
    );
    return same;
  }

  redraw() {
    cancelAnimationFrame(this.drawing);
    this.drawing = null;
    const began = performance.now();
    const same = this.check();
    const { parts, removed, added } = changes(this.original, this.editor.value);
    const time = clock(this.room?.current?.clock.seconds() ?? 0);
    this.querySelector("[data-distance]").textContent = same
      ? "not changed yet"
      : `${removed} ${removed === 1 ? "word" : "words"} out, ${added} in · ${time}`;
    this.querySelector("[data-diff]").replaceChildren(
      ...parts.map((part) => {
        if (part.kind === "same") return part.text;
        const mark = document.createElement(part.kind === "added" ? "ins" : "del");
        mark.textContent = part.text;
        return mark;
      }),
    );
    this.took = performance.now() - began;
    this.show();
  }

  /** In the place of the changes, if wanted, the text as it will be read. */
  async show() {
    this.preview.setAttribute("aria-pressed", settings.preview);
    this.querySelector("[data-diff]").hidden = settings.preview;
    const place = this.querySelector("[data-preview]");
    place.hidden = !settings.preview;
    this.querySelector("[data-beside]").textContent = settings.preview ? "As it will be read" : "Changes";
    const text = this.editor.value;
    if (!settings.preview || this.previewed === text) return;
    const html = await rendered(this.dataset.previewUrl, text);
    if (this.editor.value !== text) return; // written on meanwhile: a newer one is on its way
    if (html === null) place.textContent = "The server cannot be reached; what you write is kept here.";
    else place.innerHTML = html; // sanitised by the server
    this.previewed = html === null ? null : text;
  }
}

customElements.define("edit-answer", EditAnswer);
