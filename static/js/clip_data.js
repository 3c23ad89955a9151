// The numbers of clips, fetched once and held in memory: a clip of a task that is held ready plays the moment it is
// shown. Of worlds that the browser does not draw itself, the pictures.

import { painter } from "./worlds/worlds.js";

const MOST = 48; // clips held; those shown longest ago go first
const held = new Map(); // address of the steps → {promise, clip}

/** What a page knows of a clip: {about, seconds, start, count, state(i), command(i), by(i), painter, picture(i)}. */
class RecordedClip {
  constructor(figure, about, rows) {
    this.about = about;
    this.seconds = about.seconds;
    this.start = Number(figure.dataset.start);
    this.columns = about.columns;
    this.rows = rows;
    this.count = Math.floor(rows.length / about.columns);
    this.painter = about.drawn ? painter(about.world) : null;
    this.pictures = [];
  }

  number(at, behind) {
    return this.rows[(at + 1) * this.columns - behind];
  }

  state(at) {
    return this.rows.subarray(at * this.columns, (at + 1) * this.columns - 3);
  }

  command(at) {
    const number = this.number(at, 2);
    return number < 0 ? "" : this.about.commands[number] ?? "";
  }

  by(at) {
    return ["nobody", "policy", "person", "script"][this.number(at, 1)] ?? "nobody";
  }

  /** Stretches of one command: {start, stop, command, by} in steps of the clip. */
  stretches() {
    const found = [];
    for (let at = 0; at < this.count; at += 1) {
      const last = found.at(-1);
      const [command, by] = [this.command(at), this.by(at)];
      if (last && last.command === command && last.by === by) last.stop = at + 1;
      else found.push({ start: at, stop: at + 1, command, by });
    }
    return found;
  }

  /** The newest picture that has come of a step or of one before it. */
  picture(at) {
    for (let step = at; step >= 0; step -= 1) if (this.pictures[step]?.naturalWidth) return this.pictures[step];
    return null;
  }

  fetchPictures(address, changed) {
    for (let at = 0; at < this.count; at += 1) {
      const picture = new Image();
      picture.addEventListener("load", changed, { once: true });
      picture.src = `${address}picture/${this.start + at}.jpg?size=512`;
      this.pictures.push(picture);
    }
  }
}

async function fetched(address) {
  const response = await fetch(address, { credentials: "same-origin", redirect: "manual" });
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  return response;
}

async function load(figure) {
  const { about, steps } = figure.dataset;
  const [said, bytes] = await Promise.all([
    fetched(about).then((response) => response.json()),
    fetched(steps).then((response) => response.arrayBuffer()),
  ]);
  if (bytes.byteLength === 0 || bytes.byteLength % (4 * said.columns)) throw new Error("The steps did not arrive whole.");
  const clip = new RecordedClip(figure, said, numbers(bytes));
  if (!clip.painter) clip.fetchPictures(about, () => document.dispatchEvent(new CustomEvent("kibitz:picture")));
  return clip;
}

/** Little-endian float32, whatever this machine is. */
export function numbers(bytes) {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return new Float32Array(bytes);
  const view = new DataView(bytes);
  return Float32Array.from({ length: bytes.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

/** Begins to fetch a clip, or has it already. {promise, clip}: `clip` is there once it came. */
export function fetchClip(figure) {
  const name = figure.dataset.steps;
  const known = held.get(name);
  held.delete(name);
  const entry = known ?? {};
  held.set(name, entry); // the newest stands last
  for (const oldest of held.keys()) {
    if (held.size <= MOST) break;
    held.delete(oldest);
  }
  entry.promise ??= load(figure).then(
    (clip) => {
      entry.clip = clip;
      return clip;
    },
    (problem) => {
      held.delete(name); // the next look tries again
      throw problem;
    },
  );
  return entry;
}

/** Of a task that is held ready: fetches what it shows, and takes out what is there for pages without script. */
export function prefetch(form) {
  for (const plain of form.querySelectorAll(".clip noscript")) plain.remove();
  for (const figure of form.querySelectorAll("[data-clip][data-steps]")) fetchClip(figure).promise.catch(() => {});
}
