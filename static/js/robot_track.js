// Who commanded what at which step, as runs of steps; and how fast a person was obeyed. Pure.

/** Steps in a row under the same command: { start, stop (excluded), command, by }. */
export class Track {
  runs = [];
  #last = -1;

  get stop() {
    return this.#last + 1;
  }

  clear() {
    this.runs = [];
    this.#last = -1;
  }

  /** True where a new run began. A step that was told before changes nothing. */
  add(step, command, by) {
    if (step <= this.#last) return false;
    this.#last = step;
    const last = this.runs.at(-1);
    if (last && last.stop === step && last.command === command && last.by === by) {
      last.stop = step + 1;
      return false;
    }
    this.runs.push({ start: step, stop: step + 1, command, by });
    return true;
  }
}

/** How many steps the timeline shows: always some more than there are, in fifties, so that it seldom rescales. */
export const span = (steps) => Math.max(100, Math.ceil((steps * 1.08) / 50) * 50);

/** Steps of an episode as they are said: "12 to 30", "from 12", "12". Steps count from 0; `stop` is excluded. */
export function saySteps(start, stop) {
  if (start === null || start === undefined) return "not yet";
  if (stop === null || stop === undefined) return `from step ${start}`;
  return stop - start <= 1 ? `step ${start}` : `steps ${start} to ${stop - 1}`;
}

/** The last times something took, and their middle. */
export class Times {
  #values = [];

  add(milliseconds) {
    this.#values.push(milliseconds);
    if (this.#values.length > 20) this.#values.shift();
  }

  get last() {
    return this.#values.at(-1) ?? null;
  }

  get median() {
    const sorted = [...this.#values].sort((one, other) => one - other);
    return sorted.length ? sorted[sorted.length >> 1] : null;
  }
}

/** How many steps come in a second, from when the last ones came. */
export class Rate {
  #came = [];

  add(now) {
    this.#came.push(now);
    if (this.#came.length > 21) this.#came.shift();
  }

  forget() {
    this.#came = [];
  }

  /** Null where too few came, or none for a second. */
  at(now) {
    const { length } = this.#came;
    if (length < 3 || now - this.#came[length - 1] > 1000) return null;
    return ((length - 1) * 1000) / (this.#came[length - 1] - this.#came[0]);
  }
}
