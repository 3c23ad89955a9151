// Who draws when: one chart an animation frame, each at most four times a second (twice when more than six
// are in view), the one that waited longest first, and none that nobody sees. After a draw the page rests
// for three times as long as it took, so that a slow machine draws less often and still answers to the hand.

const REST = 3;

export class Turns {
  #waiting = new Set();
  #drawn = new Map(); // chart -> when it last drew
  #pending = false;
  #rested = -Infinity; // when the page may draw again

  constructor({ frame = requestAnimationFrame, later = setTimeout, now = () => performance.now() } = {}) {
    this.frame = (callback) => frame(callback);
    this.later = (callback, wait) => later(callback, wait);
    this.now = now;
  }

  // A chart has `seen` (is it in view?) and `draw()`. Asking twice before the turn comes is asking once.
  ask(chart) {
    this.#waiting.add(chart);
    this.#arrange();
  }

  forget(chart) {
    this.#waiting.delete(chart);
    this.#drawn.delete(chart);
  }

  #arrange() {
    if (this.#pending) return;
    const wait = this.#next().wait;
    if (wait === Infinity) return;
    this.#pending = true;
    const turn = () => this.frame(() => this.#turn());
    if (wait > 0) this.later(turn, wait);
    else turn();
  }

  #turn() {
    this.#pending = false;
    const { chart, wait } = this.#next();
    if (chart && wait <= 0) {
      this.#waiting.delete(chart);
      this.#drawn.set(chart, this.now());
      const began = this.now();
      chart.draw();
      this.#rested = this.now() + REST * (this.now() - began);
    }
    this.#arrange();
  }

  #next() {
    const seen = [...this.#waiting].filter((chart) => chart.seen);
    if (!seen.length) return { chart: null, wait: Infinity };
    const when = (chart) => this.#drawn.get(chart) ?? -Infinity;
    const chart = seen.reduce((one, other) => (when(other) < when(one) ? other : one));
    const inView = [...new Set([...this.#drawn.keys(), ...seen])].filter(({ seen: here }) => here).length;
    const due = Math.max(this.#rested, when(chart) + (inView > 6 ? 500 : 250));
    return { chart, wait: due - this.now() };
  }
}
