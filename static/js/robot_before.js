// The episode before, beside the one that is under way, at the same step: a recording at the same seed.

const HEAD = 3; // score, command, commander: the last three numbers of a recorded step

export class Before {
  #wanted = 0;
  #episode = null;

  constructor(root) {
    this.root = root;
    this.figure = root.querySelector("[data-show=before-figure]");
    this.world = this.figure.querySelector("robot-world");
    this.show = (name) => root.querySelector(`[data-show="${name}"]`);
  }

  /** Another episode: shows the one of that seed, where the page names one. */
  async begin({ world, seconds, seed }) {
    const before = this.root.querySelector(`[data-before][data-seed="${Number(seed)}"]`)?.dataset.before ?? null;
    const shown = before !== null;
    this.figure.hidden = !shown;
    this.show("now-caption").hidden = !shown;
    this.figure.parentElement.classList.toggle("two", shown);
    if (!shown || this.#episode === before) return;
    this.#episode = before;
    this.states = null;
    this.#say("loading …");
    const recording = await this.#fetch(before).catch(() => null);
    if (this.#episode !== before) return;
    if (!recording) {
      this.#say("its recording could not be read");
      return;
    }
    this.states = recording.states;
    this.words = `seed ${recording.facts.seed}, ${recording.states.length} steps, ${sayScore(recording.facts)}`;
    this.world.begin({ world, seconds, scene: recording.facts.scene, state: recording.states[0] });
    this.at(this.#wanted);
  }

  /** Both are shown at the same step; a shorter one stays at its end. */
  at(step) {
    this.#wanted = step;
    if (!this.states) return;
    const last = this.states.length - 1;
    this.world.step(this.states[Math.min(step, last)]);
    this.#say(step > last ? `${this.words} · over` : this.words);
  }

  async #fetch(episode) {
    const [facts, steps] = await Promise.all([
      fetch(`/recordings/${episode}/`).then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status))),
      fetch(`/recordings/${episode}/steps/`).then((answer) => (answer.ok ? answer.arrayBuffer() : Promise.reject(answer.status))),
    ]);
    return { facts, states: statesOf(steps, facts.steps) };
  }

  #say(words) {
    const place = this.show("before-words");
    if (place.textContent !== words) place.textContent = words;
  }
}

/** The states in the rows of a recording: float32, little-endian, with score, command and commander behind each. */
export function statesOf(buffer, steps) {
  const view = new DataView(buffer);
  const width = buffer.byteLength / 4 / steps;
  if (!Number.isInteger(width) || width < HEAD) {
    throw new Error(`Found ${buffer.byteLength} bytes for ${steps} steps; expected a whole number of rows.`);
  }
  return Array.from({ length: steps }, (_, row) =>
    Float32Array.from({ length: width - HEAD }, (_, i) => view.getFloat32((row * width + i) * 4, true)),
  );
}

function sayScore({ success, score }) {
  if (success === true) return "it succeeded";
  if (score === null || score === undefined) return "it did not succeed";
  return `${Math.round(score * 100)} % done`;
}
