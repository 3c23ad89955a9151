// Motions: what the robot does as long as a key, or a button of the page, is held down.

import { Held } from "./robot_keys.js";

export class Motions {
  held = new Held();
  commands = {}; // motion -> what it is called
  #pressed = new Map(); // motion -> the ref under which it was said

  /** `may()`: whether holding one says so now; `send(fields, how)` sends a message of a motion, and returns its ref, or
   *  null where it was dropped; `sent(ref, {text, command})` hears of each that went out. */
  constructor(root, { may, send, sent }) {
    Object.assign(this, { root, may, send, sent });
    for (const button of root.querySelectorAll("[data-motion]")) this.#wire(button);
  }

  /** A key, or a button, that stands for a motion goes down. */
  press(source, motion) {
    if (this.held.press(source, motion)) this.#begin(motion);
  }

  release(source) {
    const motion = this.held.release(source);
    if (motion) this.#end(motion);
  }

  letGo() {
    for (const motion of this.held.letGo()) this.#end(motion);
  }

  /** Somebody else steers: there is nobody to tell. */
  lose() {
    this.#pressed.clear();
    this.letGo();
  }

  /** The connection is back: what is still held is said again, unless it was never let go of. */
  again() {
    for (const motion of this.held.motions) this.#begin(motion);
  }

  /** It never left this page. */
  drop(motion) {
    this.#pressed.delete(motion);
  }

  /** Shows the buttons of those that there are; whether there are any. */
  dress() {
    for (const button of this.root.querySelectorAll("[data-motion]")) button.hidden = !(button.dataset.motion in this.commands);
    return Object.keys(this.commands).length > 0;
  }

  #button(motion) {
    return this.root.querySelector(`[data-motion="${motion}"]`);
  }

  #begin(motion) {
    this.#button(motion)?.classList.add("held");
    const command = this.commands[motion];
    if (!command || !this.may() || this.#pressed.has(motion)) return;
    const ref = this.send({ key: motion, down: true }, { momentary: true });
    if (ref === null) return;
    this.#pressed.set(motion, ref);
    this.sent(ref, { text: motion, command });
  }

  #end(motion) {
    this.#button(motion)?.classList.remove("held");
    if (this.#pressed.delete(motion)) this.send({ key: motion, down: false });
  }

  #wire(button) {
    const { motion } = button.dataset;
    const name = `button ${motion}`;
    button.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the box keeps the keyboard
      button.setPointerCapture(event.pointerId);
      this.press(name, motion);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(end, () => this.release(name));
    button.addEventListener("keydown", (event) => {
      if (!["Space", "Enter"].includes(event.code)) return;
      event.preventDefault();
      this.press(event.code, motion);
    });
  }
}
