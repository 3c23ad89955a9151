// What is shown between two steps: a robot moves ten times a second, a screen sixty. Pure.
//
// Each new state is glided to from whatever is shown at that moment, over one step. So the picture begins to move the
// moment a step arrives, and a step that comes early or late moves it faster or slower, never by a jump.

const TRAIL = 1000; // ms

export class Glide {
  #from = null;
  #to = null;
  #began = 0;
  #trail = []; // [x, y, when], oldest first

  /** `between` and `tip` as a painter has them; `seconds` a step takes; `still` where nothing should glide. */
  constructor({ between, tip, seconds, still = false }) {
    Object.assign(this, { between, tip, still, step: seconds * 1000 });
  }

  /** Another episode: nothing leads here. */
  begin(state) {
    this.#from = this.#to = state;
    this.#began = -Infinity;
    this.#trail = [];
  }

  next(state, now) {
    if (!this.#to) this.begin(state);
    this.#from = this.still ? state : this.at(now);
    this.#to = state;
    this.#began = now;
    if (this.tip) this.#trail.push([...this.tip(this.#from), now]);
  }

  at(now) {
    if (!this.#to || this.still) return this.#to;
    const share = Math.min(1, Math.max(0, (now - this.#began) / this.step));
    return share >= 1 ? this.#to : this.between(this.#from, this.#to, share);
  }

  /** Where the tip was in the last second, oldest first. */
  trail(now) {
    if (this.still || !this.tip || !this.#to) return [];
    this.#trail = this.#trail.filter(([, , when]) => now - when < TRAIL);
    return this.#trail.length ? [...this.#trail.map(([x, y]) => [x, y]), this.tip(this.at(now))] : [];
  }

  /** Whether the picture will be another one in the next frame. */
  moving(now) {
    return !this.still && this.#to !== null && (now - this.#began < this.step || this.#trail.length > 0);
  }
}
