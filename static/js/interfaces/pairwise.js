// Two answers side by side: folding the prompt, scrolling both together, marking where they differ, showing them as
// they were written, and on narrow screens jumping between them.

import { pieces, words } from "../diff.js";
import { across, together } from "../linked_scroll.js";
import { Criteria } from "./pairwise_criteria.js";
import { foldPrompt } from "./prompt.js";

// A person's way of reading stays from task to task.
const KEPT = ["linked", "plain"];
const settings = { diff: false };
for (const name of KEPT) settings[name] = localStorage.getItem(`kibitz.${name}`) === "1";

/** The words that are seen in a text, each with the place it stands at. A formula counts as one word. */
function wordsOf(root) {
  const found = [];
  const seen = (node) => !(node.nodeType === Node.ELEMENT_NODE && node.hidden);
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT, (node) => {
    if (!seen(node) || node.parentElement.closest("math")) return NodeFilter.FILTER_REJECT;
    return node.nodeType === Node.TEXT_NODE || node.localName === "math" ? NodeFilter.FILTER_ACCEPT : NodeFilter.FILTER_SKIP;
  });
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.nodeType === Node.ELEMENT_NODE) {
      found.push({ word: node.getAttribute("alttext") ?? node.textContent, node, start: 0, end: node.childNodes.length });
      continue;
    }
    let offset = 0;
    for (const word of words(node.data)) {
      if (word.trim()) found.push({ word, node, start: offset, end: offset + word.length });
      offset += word.length;
    }
  }
  return found;
}

function rangeOf({ node, start, end }) {
  return new StaticRange({ startContainer: node, startOffset: start, endContainer: node, endOffset: end });
}

class PairwiseAnswers extends HTMLElement {
  connectedCallback() {
    if (this.texts) {
      this.apply();
      this.criteria?.start();
      return;
    }
    this.texts = [...this.querySelectorAll(".answer-text")];
    this.cards = [...this.querySelectorAll(".answer")];
    this.tabs = [...this.querySelectorAll("[data-side]")];
    this.places = [null, null];
    foldPrompt(this.querySelector(".prompt"));
    const decide = this.closest("form").querySelector(".decide");
    const criteria = decide.querySelector("[data-criteria]");
    if (criteria) this.criteria = new Criteria(criteria, decide.querySelector(".scale"));
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
    if (KEPT.includes(name)) localStorage.setItem(`kibitz.${name}`, settings[name] ? "1" : "0");
    this.apply();
  }

  apply() {
    for (const tool of this.querySelectorAll("[data-tool]")) tool.setAttribute("aria-pressed", settings[tool.dataset.tool]);
    for (const raw of this.querySelectorAll("[data-plain]")) {
      raw.hidden = !settings.plain;
      raw.parentElement.querySelector("[data-rendered]").hidden = settings.plain;
    }
    this.blocks = null;
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

  /** Where blocks that belong together begin, in pixels of side 0 and side 1; the ends belong together too. */
  anchors() {
    const parts = this.texts.map((text) => [...(text.querySelector(":scope > :not([hidden])")?.children ?? [])]);
    this.blocks ??= together(...parts.map((some) => some.map((block) => block.textContent.trim())));
    const ways = this.texts.map((text) => text.scrollHeight - text.clientHeight);
    const tops = this.texts.map((text) => text.getBoundingClientRect().top - text.scrollTop);
    const inner = this.blocks
      .map((pair) => pair.map((index, side) => parts[side][index].getBoundingClientRect().top - tops[side]))
      .filter((pair) => pair.every((place, side) => place > 0 && place < ways[side]));
    return [[0, 0], ...inner, ways];
  }

  /** Linked scroll keeps blocks that belong together beside each other; between them the longer side moves faster. */
  follow(side) {
    if (!settings.linked || this.leading === 1 - side) return;
    const [from, to] = [this.texts[side], this.texts[1 - side]];
    if (from.scrollHeight <= from.clientHeight) return;
    this.leading = side;
    const anchors = this.anchors().map((pair) => (side === 0 ? pair : [pair[1], pair[0]]));
    to.scrollTop = across(anchors, from.scrollTop);
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
