// What all charts of a page share: the x axis, the zoom and the cursor.

import { sayCount, saySeconds } from "./run_lines.js";

/** What the x axis may be: what of a row is its x, how it is drawn, and how it is said. */
export const AXES = {
  step: { title: "step", value: (points) => points.step, shown: (x) => x, say: (x) => `step ${sayCount(x)}` },
  elapsed: {
    title: "time since the start",
    value: (points) => points.time,
    shown: (x, { start, unit }) => (x - start) / unit.seconds,
    raw: (x, { start, unit }) => x * unit.seconds + start,
    say: (x, { start }) => `after ${saySeconds(x - start)}`,
  },
  clock: {
    title: "time of day",
    value: (points) => points.time,
    shown: (x) => new Date(x * 1000),
    raw: (x) => new Date(x).getTime() / 1000,
    say: (x) => new Date(x * 1000).toLocaleTimeString(),
  },
};

const UNITS = [
  { seconds: 3600, name: "h" },
  { seconds: 60, name: "min" },
  { seconds: 1, name: "s" },
];

// What the charts of a page have in common. `range` is in raw x (steps, or seconds since 1970).
export class Board extends EventTarget {
  axis = "step";
  range = null;
  follow = true;
  start = 0; // the time of the first row
  newest = { step: 0, time: 0 };
  cursor = null;

  get unit() {
    const span = this.newest.time - this.start;
    return UNITS.find(({ seconds }) => span >= 2 * seconds) ?? UNITS.at(-1);
  }

  choose(axis) {
    this.axis = axis;
    this.range = null;
    this.follow = true;
    this.point(null);
    this.#changed();
  }

  // A zoom set by hand stays: nothing that arrives moves it until `follow` is asked for again.
  zoom(range) {
    this.range = range;
    this.follow = range === null;
    this.#changed();
  }

  keepUp(follow) {
    this.follow = follow;
    if (!follow && !this.range) this.range = this.#whole();
    if (follow && this.range) this.#slide();
    this.#changed();
  }

  // New rows came. A window that follows keeps its width and moves on.
  arrived(step, time) {
    this.newest = { step, time };
    if (this.follow && this.range) this.#slide();
  }

  point(x) {
    this.cursor = x;
    this.dispatchEvent(new Event("cursor"));
  }

  #end() {
    return this.axis === "step" ? this.newest.step : this.newest.time;
  }

  #whole() {
    return [this.axis === "step" ? 0 : this.start, this.#end()];
  }

  #slide() {
    const width = this.range[1] - this.range[0];
    const [first, end] = this.#whole();
    this.range = width >= end - first ? null : [end - width, end];
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
