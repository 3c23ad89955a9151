// Two answers side by side: folding the prompt, scrolling both together, marking where they differ,
// and on narrow screens jumping between them.

import { pieces, words } from "../diff.js";
import { foldPrompt } from "./prompt.js";

// A person's way of reading stays from task to task.
const settings = { linked: localStorage.getItem("kibitz.linked") === "1", diff: false };

/** The words of a rendered text, each with the Range it stands at. */
function wordsOf(root) {
  const found = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    let offset = 0;
    for (const word of words(walker.currentNode.data)) {
      found.push({ word, node: walker.currentNode, start: offset, end: offset + word.length });
      offset += word.length;
    }
  }
  return found.filter(({ word }) => word.trim());
}

function rangeOf({ node, start, end }) {
  const range = new StaticRange({ startContainer: node, startOffset: start, endContainer: node, endOffset: end });
  return range;
}

class PairwiseAnswers extends HTMLElement {
  connectedCallback() {
    if (this.texts) {
      this.apply();
      return;
    }
    this.texts = [...this.querySelectorAll(".answer-text")];
    this.cards = [...this.querySelectorAll(".answer")];
    this.tabs = [...this.querySelectorAll("[data-side]")];
    this.places = [null, null];
    foldPrompt(this.querySelector(".prompt"));
    for (const tool of this.querySelectorAll("[data-tool]")) {
      if (tool.dataset.tool === "diff" && !globalThis.CSS?.highlights) continue;
      tool.hidden = false;
      tool.addEventListener("click", () => this.toggle(tool.dataset.tool));
    }
    for (const [side, text] of this.texts.entries()) {
      text.addEventListener("scroll", () => this.follow(side), { passive: true });
    }
    for (const [side, tab] of this.tabs.entries()) tab.addEventListener("click", () => this.jump(side));
    this.addEventListener("scroll", () => this.markTab(), { passive: true });
    this.apply();
    this.markTab();
  }

  disconnectedCallback() {
    globalThis.CSS?.highlights?.delete("only-a");
    globalThis.CSS?.highlights?.delete("only-b");
  }

  toggle(name) {
    settings[name] = !settings[name];
    if (name === "linked") localStorage.setItem("kibitz.linked", settings.linked ? "1" : "0");
    this.apply();
  }

  apply() {
    for (const tool of this.querySelectorAll("[data-tool]")) tool.setAttribute("aria-pressed", settings[tool.dataset.tool]);
    this.follow(0);
    if (!globalThis.CSS?.highlights) return;
    const only = { removed: [], added: [] };
    if (settings.diff) {
      const [a, b] = this.texts.map(wordsOf);
      for (const piece of pieces(a.map(({ word }) => word), b.map(({ word }) => word))) {
        if (piece.kind === "removed") only.removed.push(rangeOf(a[piece.before]));
        if (piece.kind === "added") only.added.push(rangeOf(b[piece.after]));
      }
    }
    CSS.highlights.set("only-a", new Highlight(...only.removed));
    CSS.highlights.set("only-b", new Highlight(...only.added));
  }

  /** Linked scroll goes by share of the whole: the longer answer moves faster. */
  follow(side) {
    if (!settings.linked || this.leading === 1 - side) return;
    const [from, to] = [this.texts[side], this.texts[1 - side]];
    const way = from.scrollHeight - from.clientHeight;
    if (way <= 0) return;
    this.leading = side;
    to.scrollTop = (from.scrollTop / way) * (to.scrollHeight - to.clientHeight);
    clearTimeout(this.led);
    this.led = setTimeout(() => {
      this.leading = null;
    }, 120);
  }

  /** Narrow screens: goes to an answer, to where in it one was. */
  jump(side) {
    const here = this.shownSide();
    if (here !== side) this.places[here] = this.scrollTop;
    const top = this.cards[side].offsetTop - this.offsetTop - this.querySelector(".pair-tools").offsetHeight - 8;
    const kept = this.places[side];
    this.scrollTop = kept === null ? top : kept;
    this.markTab(side);
  }

  shownSide() {
    const line = this.getBoundingClientRect().top + this.clientHeight / 3;
    return this.cards[1].getBoundingClientRect().top < line ? 1 : 0;
  }

  markTab(side = this.shownSide()) {
    for (const [index, tab] of this.tabs.entries()) tab.setAttribute("aria-current", index === side);
  }
}

customElements.define("pairwise-answers", PairwiseAnswers);
