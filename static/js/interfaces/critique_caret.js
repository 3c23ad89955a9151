// A caret in a text that cannot be changed: it moves by words, and Shift marks. What is marked is the page's own
// selection, so the mouse, a finger and the keys say the same.

const SEGMENTS = globalThis.Intl?.Segmenter;

/** The pieces of a text as [start, end]: its words, characters or sentences, in any script. */
function pieces(text, granularity) {
  if (SEGMENTS) {
    return [...new SEGMENTS(undefined, { granularity }).segment(text)].map(({ index, segment }) => [index, index + segment.length]);
  }
  const patterns = { word: /\s+|\S+/g, grapheme: /./gsu, sentence: /[^.!?]+[.!?]*\s*/gs };
  return [...text.matchAll(patterns[granularity])].map((match) => [match.index, match.index + match[0].length]);
}

export class Caret {
  constructor(element, tell) {
    this.element = element;
    this.tell = tell;
    this.text = element.textContent;
    this.anchor = 0;
    this.at = 0;
    this.line = document.createElement("span");
    this.line.className = "critique-caret";
    this.line.hidden = true;
    element.after(this.line);
    this.cut = {};
    element.addEventListener("focus", () => this.restore());
    element.addEventListener("blur", () => this.draw());
  }

  pieces(granularity) {
    this.cut[granularity] ??= pieces(this.text, granularity);
    return this.cut[granularity];
  }

  stretch() {
    return { start: Math.min(this.anchor, this.at), end: Math.max(this.anchor, this.at) };
  }

  // --- moving

  press(event) {
    if (event.altKey) return;
    const forward = getComputedStyle(this.element).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const backward = forward === "ArrowRight" ? "ArrowLeft" : "ArrowRight";
    const far = event.ctrlKey || event.metaKey;
    const by = far ? "grapheme" : "word";
    const moves = {
      [forward]: () => this.step(by, 1),
      [backward]: () => this.step(by, -1),
      ArrowDown: () => this.native("forward", "line"),
      ArrowUp: () => this.native("backward", "line"),
      Home: () => (far ? 0 : this.native("backward", "lineboundary")),
      End: () => (far ? this.text.length : this.native("forward", "lineboundary")),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    const to = moves[event.key]();
    this.put(event.shiftKey ? this.anchor : to, to);
    this.say();
  }

  /** Forward to where a word ends, back to where one begins; what is between words is no place to stop. */
  step(granularity, direction) {
    const stops = this.pieces(granularity).filter(([start, end]) => granularity !== "word" || this.text.slice(start, end).trim());
    if (direction > 0) return stops.find(([, end]) => end > this.at)?.[1] ?? this.text.length;
    return stops.findLast(([start]) => start < this.at)?.[0] ?? 0;
  }

  /** The browser knows where lines end. */
  native(direction, granularity) {
    const selection = getSelection();
    selection.collapse(...this.place(this.at));
    selection.modify("move", direction, granularity);
    const found = this.offset(selection.focusNode, selection.focusOffset);
    return found ?? (direction === "forward" ? this.text.length : 0);
  }

  /** Marks the sentence that the caret is in; where one is marked, the next one too. */
  sentence() {
    const { start, end } = this.stretch();
    const sentences = this.pieces("sentence");
    const first = sentences.find(([, stop]) => start < stop) ?? sentences.at(-1);
    if (!first) return;
    const whole = start === first[0] && end > start;
    const last = sentences.find(([, stop]) => (whole ? end < stop : end <= stop)) ?? sentences.at(-1);
    this.element.focus({ preventScroll: true });
    this.put(first[0], last[1]);
    this.say();
  }

  collapse(at) {
    this.anchor = at;
    this.at = at;
  }

  // --- the selection of the page

  put(anchor, at) {
    this.anchor = anchor;
    this.at = at;
    this.restore();
    this.scroll();
  }

  restore() {
    if (document.activeElement === this.element) {
      getSelection().setBaseAndExtent(...this.place(this.anchor), ...this.place(this.at));
    }
    this.draw();
  }

  /** The mouse or a finger marked something: that is where the caret is now. */
  follow() {
    const { anchorNode, anchorOffset, focusNode, focusOffset } = getSelection();
    const [anchor, at] = [this.offset(anchorNode, anchorOffset), this.offset(focusNode, focusOffset)];
    if (anchor === null || at === null) return;
    this.anchor = anchor;
    this.at = at;
    this.draw();
  }

  /** The node and offset of a position in the text. */
  place(position) {
    let left = position;
    const walk = document.createTreeWalker(this.element, NodeFilter.SHOW_TEXT);
    let node = walk.nextNode();
    if (!node) return [this.element, 0];
    for (let next = walk.nextNode(); left > node.length && next; next = walk.nextNode()) {
      left -= node.length;
      node = next;
    }
    return [node, Math.min(left, node.length)];
  }

  /** The position of a node and offset; null outside the text. */
  offset(node, offset) {
    if (!node || !this.element.contains(node)) return null;
    const before = document.createRange();
    before.setStart(this.element, 0);
    before.setEnd(node, offset);
    return before.toString().length;
  }

  // --- what is drawn and said

  box() {
    const range = document.createRange();
    const at = Math.min(this.at, this.text.length);
    range.setStart(...this.place(at));
    const [box] = range.getClientRects();
    if (box || this.text.length === 0) return box;
    // Some browsers give no box between two characters: the one beside it has one.
    range.setStart(...this.place(Math.max(0, at - 1)));
    range.setEnd(...this.place(Math.max(at, 1)));
    const beside = [...range.getClientRects()].at(-1);
    return beside && new DOMRect(at > 0 ? beside.right : beside.left, beside.top, 0, beside.height);
  }

  draw() {
    const box = this.anchor === this.at && document.activeElement === this.element ? this.box() : null;
    this.line.hidden = !box;
    if (!box) return;
    const frame = this.line.offsetParent.getBoundingClientRect();
    const scrolled = this.line.offsetParent;
    this.line.style.left = `${box.left - frame.left + scrolled.scrollLeft}px`;
    this.line.style.top = `${box.top - frame.top + scrolled.scrollTop}px`;
    this.line.style.height = `${box.height}px`;
  }

  scroll() {
    const box = this.box();
    const frame = this.line.parentElement.getBoundingClientRect();
    if (!box) return;
    if (box.bottom > frame.bottom) this.line.parentElement.scrollTop += box.bottom - frame.bottom + 24;
    if (box.top < frame.top) this.line.parentElement.scrollTop -= frame.top - box.top + 24;
    this.draw();
  }

  say() {
    const { start, end } = this.stretch();
    if (start < end) {
      const words = this.text.slice(start, end);
      this.tell(`Marked: ${words.length > 160 ? `${words.slice(0, 60)} … ${words.slice(-60)}` : words}`);
      return;
    }
    const word = this.pieces("word").find(([from, to]) => from <= this.at && this.at <= to && this.text.slice(from, to).trim());
    this.tell(word ? this.text.slice(...word) : this.at === 0 ? "Start of the answer" : "End of the answer");
  }
}
