// The stretches of an answer: counted as the server counts them, drawn where they overlap too.

const LANE = 4; // px from one line under the text to the next
const LANES = 3;

export class Marks {
  /** `number` says which colour and digit a type has. */
  constructor(element, number) {
    this.element = element;
    this.number = number;
    this.text = element.textContent;
    // Where each character begins in UTF-16, and after the last one where the text ends.
    this.places = [];
    for (let at = 0; at < this.text.length; at += this.text.codePointAt(at) > 0xffff ? 2 : 1) this.places.push(at);
    this.places.push(this.text.length);
    this.spans = [];
  }

  /** How many characters stand before a position; one inside a character counts as before it. */
  characters(position) {
    let [low, high] = [0, this.places.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.places[middle] <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  spanOf({ start, end }, type) {
    return { start: this.characters(start), end: this.characters(end), type, note: "" };
  }

  quote(span) {
    return this.text.slice(this.places[span.start], this.places[span.end]);
  }

  holds(span, position) {
    return this.places[span.start] <= position && position <= this.places[span.end];
  }

  /** Without the space around it, which nobody means. */
  trimmed({ start, end }) {
    const words = this.text.slice(start, end);
    return {
      start: start + (words.length - words.trimStart().length),
      end: Math.max(start + (words.length - words.trimStart().length), end - (words.length - words.trimEnd().length)),
    };
  }

  // --- drawing

  /** Cuts the text where a stretch begins or ends, and gives every piece the lines of the stretches over it. */
  draw(spans) {
    this.spans = spans.map((span) => ({
      start: this.places[span.start],
      end: this.places[span.end],
      number: this.number(span.type),
    }));
    const lanes = this.lanes();
    const cuts = new Set([0, this.text.length]);
    for (const { start, end } of this.spans) cuts.add(start).add(end);
    const sorted = [...cuts].sort((a, b) => a - b);
    this.element.replaceChildren(
      ...sorted.slice(1).map((end, at) => this.piece(sorted[at], end, lanes)),
    );
  }

  /** A line of its own for each of the stretches that overlap, as far as there is room. */
  lanes() {
    const order = [...this.spans.keys()].sort(
      (a, b) => this.spans[a].start - this.spans[b].start || this.spans[b].end - this.spans[a].end,
    );
    const ends = [];
    const lanes = [];
    for (const at of order) {
      const { start, end } = this.spans[at];
      const free = ends.findIndex((one) => one <= start);
      lanes[at] = free >= 0 ? free : ends.length;
      ends[lanes[at]] = end;
    }
    return lanes;
  }

  piece(start, end, lanes) {
    const over = [...this.spans.keys()].filter((at) => this.spans[at].start <= start && end <= this.spans[at].end);
    const words = this.text.slice(start, end);
    if (over.length === 0) return document.createTextNode(words);
    const piece = document.createElement("mark");
    piece.className = "critique-mark";
    piece.textContent = words;
    piece.dataset.over = over.join(" ");
    const begins = over.filter((at) => this.spans[at].start === start);
    if (begins.length > 0) piece.dataset.begins = begins.map((at) => this.spans[at].number || "?").join(" ");
    const each = (value) => over.map(value).join(", ");
    const colour = (at) => `var(--type-${this.spans[at].number})`;
    piece.style.backgroundImage = each((at) => `linear-gradient(${colour(at)}, ${colour(at)})`);
    piece.style.backgroundPosition = each((at) => `0 calc(100% - ${Math.min(lanes[at], LANES - 1) * LANE}px)`);
    return piece;
  }

  point(at) {
    for (const piece of this.element.querySelectorAll(".critique-mark")) {
      piece.classList.toggle("current", piece.dataset.over.split(" ").includes(String(at)));
    }
  }

  show(at) {
    this.element.querySelector(`.critique-mark[data-over~="${at}"]`)?.scrollIntoView({ block: "nearest" });
  }
}
