// <robot-world>: a robot's world, drawn. It is given a world's name, a scene and states as they come; it draws at most
// once a frame, only while something moves, and not at all while nobody looks. A world that no painter draws is shown
// as the pictures that come of it.

import { Glide } from "./robot_glide.js";
import { onThemeChange } from "./theme.js";
import { worldColours } from "./worlds/colours.js";
import { fit, painter } from "./worlds/worlds.js";

export class RobotWorld extends HTMLElement {
  scene = null;
  state = null;
  by = "policy";
  seen = false; // whether to show where a camera that is off sees the things
  #frame = null;
  #colours = null;

  connectedCallback() {
    if (this.canvas) return;
    this.canvas = this.querySelector("canvas");
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    onThemeChange(() => {
      this.#colours = null;
      this.draw();
    });
    document.addEventListener("visibilitychange", () => this.draw());
  }

  /** Another episode, or the first. */
  begin({ world, seconds = 0.1, scene, state }) {
    this.painter = painter(world);
    this.scene = scene;
    this.state = Float32Array.from(state ?? []);
    if (this.painter) {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.glide = new Glide({ ...this.painter, seconds, still });
      this.glide.begin(this.state);
    }
    this.draw();
  }

  step(state, by = this.by) {
    this.by = by;
    this.state = Float32Array.from(state);
    this.glide?.next(this.state, performance.now());
    this.draw();
  }

  /** A picture of the moment (its address), for a world that is not drawn from its state. The newest one counts. */
  async show(address) {
    const picture = Object.assign(new Image(), { src: address });
    this.newest = picture;
    await picture.decode().catch(() => null);
    if (this.newest !== picture || !picture.naturalWidth) return;
    this.picture = picture;
    this.draw();
  }

  draw() {
    if (this.#frame !== null || !this.scene) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = null;
      this.#paint();
    });
  }

  /** The moment in words. */
  describe() {
    if (!this.scene) return "Nothing is shown yet.";
    return this.painter?.describe(this.scene, this.state) ?? "This world is shown as pictures; it cannot be put into words here.";
  }

  /** Where on the table a pointer is; null where the world is not drawn. */
  point(event) {
    if (!this.painter?.onTable) return null;
    const box = this.canvas.getBoundingClientRect();
    return this.painter.onTable(box.width, [event.clientX - box.left, event.clientY - box.top]);
  }

  #paint() {
    const { context, size } = fit(this.canvas);
    if (!size) return;
    if (!this.painter) {
      if (this.picture) context.drawImage(this.picture, 0, 0, size, size);
      return;
    }
    const now = performance.now();
    this.#colours ??= worldColours();
    const more = { trail: this.glide.trail(now), by: this.by, seen: this.seen };
    this.painter.draw(context, size, this.scene, this.glide.at(now), this.#colours, more);
    if (this.glide.moving(now)) this.draw();
  }
}

customElements.define("robot-world", RobotWorld);
