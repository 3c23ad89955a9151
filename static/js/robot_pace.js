// The line that says how a robot keeps up: how fast it runs, how soon a person is obeyed, and whether all is sent.

import { Rate, Times } from "./robot_track.js";

export class Pace {
  #line;
  #rate = new Rate();
  #delays = new Times();
  #sentAt = new Map(); // ref -> when, until it is obeyed

  constructor(line) {
    this.#line = line;
  }

  stepped() {
    this.#rate.add(performance.now());
  }

  /** It runs no more: what it did before says nothing about what comes. */
  rested() {
    this.#rate.forget();
  }

  sent(ref) {
    this.#sentAt.set(ref, performance.now());
  }

  /** What became of something that was sent; `obeyed` where the robot does it now. */
  settled(ref, obeyed = false) {
    const sent = this.#sentAt.get(ref);
    this.#sentAt.delete(ref);
    if (obeyed && sent !== undefined) this.#delays.add(performance.now() - sent);
  }

  /** The episode is over: nothing that was sent is obeyed any more. */
  over() {
    this.#sentAt.clear();
  }

  /** `running`: whether it runs; `link` and `waiting` as the socket has them. */
  write({ link, waiting, running }) {
    const rate = running ? this.#rate.at(performance.now()) : null;
    const { last, median } = this.#delays;
    const parts = [
      ...(link === "open" ? [] : [link === "connecting" ? "connecting …" : "not connected"]),
      ...(link === "open" && rate ? [`running ${Math.round(rate)}/s`] : []),
      ...(last === null ? [] : [`key to action ${Math.round(last)} ms`]),
      waiting ? `${waiting} waiting to be sent` : "all sent",
    ];
    const words = parts.join(" · ");
    if (this.#line.textContent !== words) this.#line.textContent = words;
    this.#line.dataset.mood = link !== "open" ? "cut" : waiting ? "behind" : "live";
    this.#line.title = median === null ? "" : `Key to action, the middle of the last: ${Math.round(median)} ms`;
  }
}
