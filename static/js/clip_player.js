// Plays the clips inside an element by one clock: draws them on their canvases, at whatever rate the screen has, and
// works the bar below them. Whoever uses it is told of each new moment.

import { Clock, place } from "./clip_clock.js";
import { fetchClip, prefetch } from "./clip_data.js";
import { onThemeChange } from "./theme.js";
import { worldColours } from "./worlds/colours.js";
import { fit } from "./worlds/worlds.js";

const HALF = 0.5;
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
// A person's way of watching stays from task to task.
const kept = { speed: 1 };
let colours = null;
onThemeChange(() => {
  colours = null;
});
document.addEventListener("kibitz:taken", (event) => prefetch(event.detail));

export class Player {
  /**
   * root     holds the clips (figures with data-clip) and the bar (data-player)
   * loop     whether to begin again at the end
   * ready    called once all clips are there
   * moved    called with each new moment, in seconds
   */
  constructor(root, { loop = true, ready = () => {}, moved = () => {} }) {
    Object.assign(this, { root, loop, ready, moved });
    this.figures = [...root.querySelectorAll("[data-clip][data-steps]")];
    this.bar = root.querySelector("[data-player]");
    this.scrub = this.bar.querySelector("[data-scrub]");
    this.work = {
      play: () => this.play(!this.clock.playing),
      back: () => this.step(-1),
      on: () => this.step(1),
      less: () => this.go(this.clock.now - HALF),
      more: () => this.go(this.clock.now + HALF),
      first: () => this.go(0),
      speed: () => this.faster(),
      loop: () => this.turnLoop(),
    };
    this.bar.addEventListener("click", (event) => {
      const name = event.target.closest("[data-do]")?.dataset.do;
      if (this.work[name] && this.clock) this.work[name]();
      else if (name === "play") this.begin();
    });
    this.scrub.addEventListener("input", () => this.go(Number(this.scrub.value), true));
    this.watching = new ResizeObserver(() => this.draw());
  }

  /** The element is on the page: its clips play, at once where they are here already. */
  connect() {
    this.listening = new AbortController();
    const { signal } = this.listening;
    for (const sign of ["kibitz:theme", "kibitz:picture"]) document.addEventListener(sign, () => this.draw(), { signal });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(), { signal });
    for (const figure of this.figures) this.watching.observe(figure.querySelector("[data-frame]"));
    if (this.clock) this.run();
    else this.begin();
  }

  disconnect() {
    this.listening?.abort();
    this.watching.disconnect();
    cancelAnimationFrame(this.frame);
    this.frame = null;
  }

  begin() {
    if (this.figures.length === 0) return;
    const entries = this.figures.map(fetchClip);
    if (entries.every(({ clip }) => clip)) {
      this.start(entries.map(({ clip }) => clip));
      return;
    }
    this.say("Fetching the recording …");
    Promise.all(entries.map(({ promise }) => promise)).then(
      (clips) => this.root.isConnected && !this.clock && this.start(clips),
      () => this.say("The recording did not come. It is asked for again when you press Space."),
    );
    this.bar.hidden = false;
  }

  say(words) {
    for (const figure of this.figures) {
      const problem = figure.querySelector("[data-problem]");
      problem.textContent = words;
      problem.hidden = !words;
    }
  }

  start(clips) {
    this.say("");
    this.clips = clips;
    this.clock = new Clock({
      duration: Math.max(...clips.map(({ count, seconds }) => count * seconds)),
      step: Math.min(...clips.map(({ seconds }) => seconds)),
      loop: this.loop,
    });
    this.clock.speed = kept.speed;
    this.clock.playing = !STILL.matches;
    this.scrub.max = this.clock.duration;
    this.bar.hidden = false;
    this.ready();
    this.showBar();
    this.run();
  }

  run() {
    let before = performance.now();
    const pass = (now) => {
      this.frame = requestAnimationFrame(pass);
      // A page that was away did not miss anything: it goes on from where it was.
      const changed = this.clock.pass(Math.min(100, now - before));
      before = now;
      if (changed) this.show();
    };
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(pass);
    this.show();
  }

  // --- what the person does

  play(on) {
    this.clock.play(on);
    this.show();
  }

  step(count) {
    this.clock.frame(count);
    this.show();
  }

  go(moment, holds = false) {
    this.clock.go(moment);
    if (holds) this.clock.playing = false;
    this.show();
  }

  faster() {
    this.clock.faster();
    kept.speed = this.clock.speed;
    this.show();
  }

  turnLoop() {
    this.loop = this.clock.loop = !this.clock.loop;
    this.show();
  }

  /** The step of a clip that is shown now. */
  at(side = 0) {
    const { seconds, count } = this.clips[side];
    return place(this.clock.now, seconds, count).at;
  }

  // --- what is seen

  show() {
    this.draw();
    this.showBar();
    this.moved(this.clock.now);
    clearTimeout(this.describing);
    if (!this.clock.playing) this.describing = setTimeout(() => this.describe(), 150);
  }

  showBar() {
    const { now, duration, playing, speed, loop } = this.clock;
    if (document.activeElement !== this.scrub || playing) this.scrub.value = now;
    const time = `${now.toFixed(1)} of ${duration.toFixed(1)} s`;
    if (time !== this.shownTime) {
      this.shownTime = time;
      this.scrub.setAttribute("aria-valuetext", time);
      this.bar.querySelector("[data-time]").textContent = time;
    }
    const play = this.bar.querySelector("[data-do=play]");
    if (play.ariaPressed === String(playing) && this.shownSpeed === speed && this.shownLoop === loop) return;
    [this.shownSpeed, this.shownLoop] = [speed, loop];
    play.ariaPressed = String(playing);
    play.querySelector("[data-sign]").textContent = playing ? "❚❚" : "▶";
    this.bar.querySelector("[data-speed]").textContent = `${speed === 0.5 ? "½" : speed}×`;
    this.bar.querySelector("[data-do=speed]").setAttribute("aria-label", `Speed: ${speed} times`);
    this.bar.querySelector("[data-do=loop]").setAttribute("aria-pressed", loop);
  }

  draw() {
    if (!this.clips || !this.root.isConnected) return;
    colours ??= worldColours();
    this.clips.forEach((clip, side) => {
      const { at, share } = place(this.clock.now, clip.seconds, clip.count);
      const { context, size } = fit(this.figures[side].querySelector("[data-canvas]"));
      if (size === 0) return;
      if (clip.painter) {
        const state = share > 0 ? clip.painter.between(clip.state(at), clip.state(at + 1), share) : clip.state(at);
        clip.painter.draw(context, size, clip.about.scene, state, colours, { by: clip.by(at) });
      } else {
        const picture = clip.picture(at);
        if (picture) context.drawImage(picture, 0, 0, size, size);
      }
      const told = this.figures[side].querySelector("[data-told-now]");
      const words = clip.command(at);
      if (told && told.textContent !== words) told.textContent = words;
    });
    if (!this.drawn) {
      this.drawn = true;
      performance.mark("kibitz:clips-drawn");
    }
  }

  /** Whoever does not see it reads the moment, once it stands still. */
  describe() {
    this.clips.forEach((clip, side) => {
      const { at } = place(this.clock.now, clip.seconds, clip.count);
      const words = clip.painter?.describe?.(clip.about.scene, clip.state(at)) ?? "";
      const name = this.figures[side].dataset.clip;
      const canvas = this.figures[side].querySelector("[data-canvas]");
      canvas.setAttribute("aria-label", `${name ? `Clip ${name.toUpperCase()}` : "The recording"} at ${this.clock.now.toFixed(1)} s. ${words}`);
    });
  }
}

/** Dragging over a lane, in steps: `pressed(step)` where it begins, `dragged(start, stop)` while it lasts and
 *  `done(start, stop)` at its end. Who drags out and back again chooses the one step; who does not drag, none. */
export function draggable(lane, { count, pressed, dragged, done }) {
  const stepAt = (event) => {
    const box = lane.getBoundingClientRect();
    const share = getComputedStyle(lane).direction === "rtl" ? (box.right - event.clientX) / box.width : (event.clientX - box.left) / box.width;
    return Math.min(count() - 1, Math.max(0, Math.floor(share * count())));
  };
  let from = null;
  let moved = false;
  const told = (tell, event) => {
    if (from === null) return;
    const here = stepAt(event);
    moved ||= here !== from;
    if (moved) tell(Math.min(from, here), Math.max(from, here) + 1);
  };
  lane.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("button")) return;
    from = stepAt(event);
    moved = false;
    lane.setPointerCapture(event.pointerId);
    pressed(from);
  });
  lane.addEventListener("pointermove", (event) => told(dragged, event));
  // A finger that the browser takes away has chosen what it had reached.
  for (const end of ["pointerup", "pointercancel"]) {
    lane.addEventListener(end, (event) => {
      told(done, event);
      from = null;
    });
  }
}
