// The one clock that clips are played by: seconds since their beginning, at some speed, in a loop or once.
//
// No document in this file: time comes from outside, and node tests it whole.

export const SPEEDS = [0.5, 1, 2, 4];
const REST = 0.5; // seconds that the end is held before a loop begins again, at the speed of life

export class Clock {
  /** `duration` in seconds; `step` is the shortest step of what is played, the width of a frame. */
  constructor({ duration, step, loop = true }) {
    Object.assign(this, { duration, step, loop, now: 0, speed: 1, playing: false, resting: 0 });
    this.from = 0;
    this.to = duration;
  }

  /** Plays from one moment to another and no further, as long as nobody goes elsewhere. */
  between(from, to) {
    this.from = Math.max(0, from);
    this.to = Math.min(this.duration, to);
  }

  // Whoever scrubbed past the end of what is played sees the rest of it.
  get #end() {
    return this.now > this.to ? this.duration : this.to;
  }

  play(on) {
    // Pressed at the end, it plays again from the beginning.
    if (on && !this.playing && this.now >= this.#end - this.step / 2) this.now = this.from;
    this.playing = on;
    this.resting = 0;
  }

  /** Lets so many milliseconds pass; true where the moment changed. */
  pass(milliseconds) {
    if (!this.playing) return false;
    const seconds = milliseconds / 1000;
    if (this.resting > 0) {
      this.resting -= seconds;
      if (this.resting > 0) return false;
      this.now = this.from;
      return true;
    }
    const end = this.#end;
    this.now = Math.min(end, this.now + seconds * this.speed);
    if (this.now < end) return true;
    if (this.loop) this.resting = REST;
    else this.playing = false;
    return true;
  }

  go(moment) {
    this.now = Math.min(this.duration, Math.max(0, moment));
    this.resting = 0;
  }

  /** To the frame so many steps on, or back; and there it stands still. */
  frame(count) {
    this.playing = false;
    const frames = Math.max(1, Math.round(this.duration / this.step));
    const here = Math.min(frames - 1, Math.floor(this.now / this.step + 1e-6));
    const between = this.now / this.step - here > 1e-6;
    const next = count < 0 && between ? here + count + 1 : here + count;
    this.go(Math.min(frames - 1, Math.max(0, next)) * this.step);
  }

  faster() {
    this.speed = SPEEDS[(SPEEDS.indexOf(this.speed) + 1) % SPEEDS.length];
  }
}

/** Where in `count` rows a moment lies: the row before it, and the share of the way to the next. */
export function place(moment, seconds, count) {
  const exact = moment / seconds;
  const at = Math.min(count - 1, Math.max(0, Math.floor(exact + 1e-6)));
  const share = at >= count - 1 ? 0 : Math.min(1, Math.max(0, exact - at));
  return { at, share };
}

/** "A 0-12, B 30-41" as [{side: 0, start: 0, stop: 12}, …]; what is written otherwise is left out. */
export function readMarks(text) {
  return text
    .split(",")
    .map((part) => part.match(/^\s*([AB])\s*:?\s*(\d+)\s*-\s*(\d+)\s*$/i))
    .filter(Boolean)
    .map(([, side, start, stop]) => ({ side: side.toUpperCase() === "A" ? 0 : 1, start: Number(start), stop: Number(stop) }))
    .filter(({ start, stop }) => start < stop);
}

export function writeMarks(marks) {
  return marks.map(({ side, start, stop }) => `${"AB"[side]} ${start}-${stop}`).join(", ");
}

/** Lays a part of a lane from one step up to another, of so many. */
export function lay(part, start, stop, count) {
  part.style.insetInlineStart = `${(100 * start) / count}%`;
  part.style.inlineSize = `${(100 * Math.max(0, Math.min(stop, count) - start)) / count}%`;
}
