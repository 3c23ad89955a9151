// Driving a robot: what hands do on keys, gamepad and mouse goes out at the control rate; what is recorded is trimmed
// and marked before it is kept.

import { ofKeys, ofPad, ofPointer, still, together } from "./robot_hands.js";
import { saySteps } from "./robot_track.js";

const SOONEST = 10; // ms between two actions: a page may send 120 a second

export class Drive {
  on = false;
  seconds = 0.1; // of a step
  wide = 3; // numbers of an action
  range = null; // [start, stop] of what is recorded; stop is null while it is
  #timer = null;
  #pointer = null;
  #rested = true; // that nothing is pressed has been said

  /** `act(action)` sends one; `world` is the <robot-world>; `held` the keys (Held); `timeline` shows the range. */
  constructor(root, { act, world, held, timeline }) {
    Object.assign(this, { act, world, held, timeline });
    this.show = (name) => root.querySelector(`[data-show="${name}"]`);
    this.trims = [...root.querySelectorAll("[data-trim]")];
    this.recordButton = root.querySelector("[data-do=record]");
    this.discardButton = root.querySelector(".row [data-do=discard]");
    for (const slider of this.trims) slider.addEventListener("input", () => this.#trimmed(slider));
    this.#wirePointer();
    for (const name of ["gamepadconnected", "gamepaddisconnected"]) window.addEventListener(name, () => this.#sayPad());
  }

  /** The person has the wheel, of a robot whose steps take `seconds`, that lives `speed` times as fast and whose actions
   *  are so many numbers. */
  start({ seconds, speed, actions }) {
    this.on = true;
    this.seconds = seconds;
    this.wide = actions.length;
    this.take();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), Math.max(SOONEST, (seconds / speed) * 1000));
    this.#sayPad();
  }

  stop() {
    this.on = false;
    this.#pointer = null;
    clearInterval(this.#timer);
  }

  /** The wheel is taken at once, by standing still. */
  take() {
    this.#rested = false;
  }

  /** The wheel is let go of: nothing is said until the hands move again. */
  yield() {
    this.#pointer = null;
    this.#rested = true;
  }

  // --- what is recorded

  get recording() {
    return this.range !== null && this.range[1] === null;
  }

  record(step) {
    this.range = [step, null];
    this.#dress();
  }

  /** The episode is over, or the person stops recording: what was recorded may be trimmed now. */
  close(step) {
    if (!this.recording) return;
    this.range[1] = Math.max(this.range[0] + 1, step);
    this.whole = [...this.range];
    for (const slider of this.trims) {
      Object.assign(slider, { min: this.range[0], max: this.range[1] });
      slider.value = this.range[slider.dataset.trim === "start" ? 0 : 1];
    }
    this.#dress();
  }

  forget() {
    this.range = this.whole = null;
    this.#dress();
  }

  #trimmed(slider) {
    const [start, stop] = this.trims.map(({ value }) => Number(value));
    if (start >= stop) slider.value = slider.dataset.trim === "start" ? stop - 1 : start + 1;
    this.range = this.trims.map(({ value }) => Number(value));
    this.#dress();
  }

  #dress() {
    const closed = this.range !== null && !this.recording;
    this.recordButton.setAttribute("aria-pressed", this.recording);
    this.recordButton.firstChild.textContent = this.recording ? "Stop recording " : "Record ";
    this.recordButton.hidden = closed;
    this.discardButton.hidden = !this.recording;
    this.show("recording").textContent = this.recording ? `● recording from step ${this.range[0]}` : "";
    this.show("trim").hidden = !closed;
    if (closed) {
      const steps = this.range[1] - this.range[0];
      this.show("trim-words").textContent = `Recorded: ${saySteps(...this.range)}, ${(steps * this.seconds).toFixed(1)} s. Trim what does not belong to it.`;
    }
    this.timeline.keep(this.range);
  }

  // --- what hands do

  #tick() {
    const gripper = this.world.painter?.tip && this.world.state ? this.world.painter.tip(this.world.state) : [0, 0];
    const hands = together(ofKeys(this.held.motions), ofPad(firstPad()), ofPointer(this.#pointer, gripper));
    const action = Array.from({ length: this.wide }, (_, place) => hands[place] ?? 0); // what hands cannot do rests
    if (!still(action)) this.#rested = !this.act(action);
    else if (!this.#rested) this.#rested = this.act(action);
  }

  #wirePointer() {
    const { canvas } = this.world;
    const follow = (event) => {
      if (this.on && event.buttons & 1) this.#pointer = this.world.point(event);
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.on || event.button !== 0) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      this.world.focus({ preventScroll: true });
      follow(event);
    });
    canvas.addEventListener("pointermove", follow);
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, () => { this.#pointer = null; });
    }
  }

  #sayPad() {
    const pad = firstPad();
    this.show("pad").textContent = pad ? `Gamepad: ${pad.id}` : "";
  }
}

/** The first gamepad that is connected, or null. A browser shows one once a button of it was pressed. */
function firstPad() {
  return [...(navigator.getGamepads?.() ?? [])].find((pad) => pad?.connected) ?? null;
}
