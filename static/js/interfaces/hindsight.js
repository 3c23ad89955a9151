// A recording, and what should have been done in it: choose a moment or a stretch, say it, see how it was understood,
// and add it. What is unclear is asked back.
//
// All that is said stands in the form's field, in steps of the episode; what is drawn is made from it, every time.

import { Outcome } from "../clip_outcome.js";
import { Player, draggable } from "../clip_player.js";
import { request } from "../label_request.js";
import { line, make, ordered, part, windows } from "./hindsight_list.js";
import { foldPrompt } from "./prompt.js";

const MOST_CHOICES = 8;

class HindsightRecording extends HTMLElement {
  connectedCallback() {
    if (!this.form) this.prepare();
    this.player?.connect();
  }

  disconnectedCallback() {
    this.player?.disconnect();
  }

  prepare() {
    this.form = this.closest("form");
    const prompt = this.querySelector(".prompt");
    if (prompt) foldPrompt(prompt);
    this.field = this.querySelector("input[name=corrections]");
    this.lanes = Object.fromEntries([...this.querySelectorAll("[data-lane]")].map((lane) => [lane.dataset.lane, lane]));
    [this.words, this.command] = ["words", "command"].map((name) => this.querySelector(`[data-${name}]`));
    this.first = Number(this.querySelector("[data-clip]").dataset.start || 0);
    this.chosen = null; // {start, stop} in steps of the episode; none: the moment that is shown
    this.begun = null; // where a stretch that is being chosen begins
    this.motion = null; // the motion that is being put right
    this.understood = null; // {text, command} as the server understood it last
    this.classList.add("alive");
    this.rowsLeave();
    for (const one of this.form.querySelectorAll("[data-alive], [data-saying], [data-list-of], [data-told]")) one.hidden = false;
    this.player = new Player(this, { loop: false, ready: () => this.begin(), moved: () => this.follow() });
    this.listen();
    this.redraw();
  }

  /** The rows are for pages without script; what a refused form brought back in them is kept. */
  rowsLeave() {
    this.querySelector("[data-rows]").remove();
    this.field.value ||= this.field.dataset.said;
  }

  listen() {
    const work = {
      in: () => this.markIn(),
      out: () => this.markOut(),
      forget: () => this.choose(null),
      motion: () => this.motionHere(),
      write: () => this.write(),
      ask: () => this.ask(this.words.value),
      add: () => this.add(),
      drop: () => this.drop(),
      reject: () => this.reject(),
    };
    this.form.addEventListener("click", (event) => {
      work[event.target.closest("[data-do]")?.dataset.do]?.();
      const choice = event.target.closest("[data-choice]");
      if (choice) this.ask(choice.dataset.choice, true);
      this.pressedInList(event);
      const motion = event.target.closest("[data-motion]");
      if (motion) this.putRight(this.motions[motion.dataset.motion]);
    });
    this.words.addEventListener("focus", () => this.player.clips && this.player.play(false));
    this.words.addEventListener("keydown", (event) => this.typed(event, () => this.ask(this.words.value)));
    this.command.addEventListener("keydown", (event) => this.typed(event, () => this.add()));
    this.form.addEventListener("kibitz:restored", () => this.redraw());
    this.form.querySelector("[data-send]").addEventListener("click", (event) => this.check(event));
    this.outcome = new Outcome(this.form);
    for (const name of ["said", "told", "trained"]) {
      draggable(this.lanes[name], {
        count: () => this.count,
        pressed: (step) => this.player.clips && this.player.go(step * this.seconds, true),
        dragged: (start, stop) => this.choose({ start: this.first + start, stop: this.first + stop }),
        done: (start, stop) => this.choose({ start: this.first + start, stop: this.first + stop }),
      });
    }
  }

  /** The recording is here. */
  begin() {
    [this.clip] = this.player.clips;
    this.motions = this.clip.about.segments
      .filter((one) => one.kind === "motion" && one.stop > this.first && one.start < this.first + this.count)
      .map((one) => ({ ...one, start: Math.max(one.start, this.first), stop: Math.min(one.stop, this.first + this.count) }));
    for (const one of this.querySelectorAll("[data-motions]")) one.hidden = this.motions.length === 0;
    this.querySelector("[data-timeline]").hidden = false;
    this.querySelector(".player [data-do=loop]").hidden = false;
    const told = this.clip.stretches().map((one) => {
      const made = part(`told-${one.by}`, [this.first + one.start, this.first + one.stop], this, one.command);
      if (one.stop - one.start > this.count / 14) made.append(make("bdi", "", one.command));
      return made;
    });
    this.lanes.told.replaceChildren(...told);
    this.drawChoices();
    this.redraw();
  }

  get count() {
    return this.clip?.count ?? 1;
  }

  get seconds() {
    return this.clip?.seconds ?? 1;
  }

  /** The step of the episode that is shown. */
  get here() {
    return this.first + (this.player.clips ? this.player.at() : 0);
  }

  // --- what is said, as the form's field has it

  said() {
    return JSON.parse(this.field.value || "[]");
  }

  keep(corrections) {
    this.field.value = JSON.stringify(ordered(corrections));
    this.field.dispatchEvent(new Event("input", { bubbles: true }));
    this.redraw();
  }

  // --- where

  /** A stretch, or with null the moment that is shown. */
  choose(stretch) {
    this.chosen = stretch;
    this.begun = null;
    this.follow();
  }

  markIn() {
    if (!this.player.clips) return;
    this.player.play(false);
    this.chosen = null;
    this.begun = this.here;
    this.follow();
  }

  markOut() {
    if (!this.player.clips) return;
    const from = this.begun ?? this.here;
    this.choose({ start: Math.min(from, this.here), stop: Math.max(from, this.here) + 1 });
  }

  /** The steps that a correction said now is about. */
  stretch() {
    if (this.chosen) return this.chosen;
    const last = this.first + this.count;
    return { start: this.here, stop: Math.min(last, this.here + Number(this.dataset.decision)) };
  }

  // --- saying it

  write() {
    this.words.focus();
  }

  typed(event, done) {
    if (event.isComposing || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && !this.querySelector("[data-meant]").hidden) this.drop();
    else if (event.key === "Enter") done();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Has the server say what the words mean; `offered` ones were said by pressing them. */
  async ask(text, offered = false) {
    if (!text.trim() || this.asking) return;
    if (!this.player.clips) return;
    this.player.play(false);
    const layer = this.motion ? "motion" : "command";
    const said = offered ? text : this.words.value;
    this.showAsk("");
    this.asking = true;
    try {
      const { status, body } = await request(this.dataset.understand, { text, layer });
      if (status !== 200) throw new Error(status);
      // What its speaker chose out of what was offered is meant as it stands.
      if (body.command ?? (offered && body.others.includes(text) ? text : null)) {
        this.showMeant({ text: said.trim(), command: body.command ?? text }, body.command ? body.others : []);
      } else this.showAsk(body.ask, body.others);
    } catch {
      this.showAsk("The server cannot be reached, so this cannot be understood now. Your words stay here; press Enter again later.");
    } finally {
      this.asking = false;
    }
  }

  showMeant(understood, others = []) {
    this.understood = understood;
    this.drawChoices(others);
    this.command.value = understood.command;
    this.querySelector("[data-meant]").hidden = false;
    this.tell(`Understood as ${understood.command}. Enter adds it.`);
    this.command.focus();
    this.command.select();
  }

  showAsk(words, others = []) {
    this.querySelector("[data-meant]").hidden = true;
    this.understood = null;
    this.command.value = "";
    this.querySelector("[data-asks]").textContent = words;
    this.drawChoices(others);
  }

  /** The command was seen, and perhaps changed: then it must be understood anew. */
  add() {
    const command = this.command.value.trim();
    if (!this.understood || !command) return;
    if (command !== this.understood.command) {
      this.ask(command);
      return;
    }
    const { start, stop } = this.stretch();
    const layer = this.motion ? "motion" : "command";
    const predicted = this.motion ? this.motion.label : this.predictedAt(start);
    const made = { start, stop, text: this.understood.text.slice(0, 200), command, layer, type: "correction", live: false, predicted };
    this.keep([...this.said().filter((one) => JSON.stringify(one) !== this.changing), made]);
    this.clear();
    this.note(`Added: ${command}.`);
  }

  predictedAt(step) {
    const at = step - this.first;
    return this.clip.by(at) === "policy" ? this.clip.command(at) : "";
  }

  drop() {
    this.clear();
    this.note("Dropped. Nothing was added.");
  }

  /** The box is empty again, and the keys work the recording. */
  clear() {
    this.words.value = "";
    this.changing = null;
    this.motion = null;
    this.showAsk("");
    this.choose(null);
    this.words.dispatchEvent(new Event("input", { bubbles: true }));
    this.focus({ preventScroll: true });
  }

  reject() {
    if (!this.player.clips) return;
    this.player.play(false);
    const at = this.here - this.first;
    const told = this.clip.stretches().find((one) => one.start <= at && at < one.stop);
    const { start, stop } = this.chosen ?? { start: this.first + told.start, stop: this.first + told.stop };
    this.keep([
      ...this.said(),
      { start, stop, text: "", command: "", layer: "command", type: "rejected", live: false, predicted: this.predictedAt(start) },
    ]);
    this.choose(null);
    this.note("Rejected: what was done there is never imitated.");
  }

  // --- motions that were read off the steps

  motionHere() {
    const found = this.motions?.find((one) => one.start <= this.here && this.here < one.stop);
    if (!found) this.note("No motion was read off this moment.");
    else this.putRight(found);
  }

  putRight(motion) {
    this.motion = motion;
    this.player.play(false);
    this.choose({ start: motion.start, stop: motion.stop });
    this.drawChoices();
    this.words.focus();
  }

  // --- the list, success, sending

  pressedInList(event) {
    const at = Number(event.target.closest("[data-said]")?.dataset.said ?? -1);
    if (at < 0) return;
    const one = this.said()[at];
    const work = event.target.closest("[data-work]")?.dataset.work;
    if (work === "remove") {
      this.keep(this.said().filter((_, other) => other !== at));
      this.note("Taken out.");
    } else if (work === "change") {
      this.changing = JSON.stringify(one); // where it stands in the list may change meanwhile
      this.motion = one.layer === "motion" ? { ...one, label: one.predicted } : null;
      this.choose({ start: one.start, stop: one.stop });
      this.player.go((one.start - this.first) * this.seconds, true);
      this.words.value = one.text;
      this.showMeant({ text: one.text, command: one.command });
    } else {
      this.player.go((one.start - this.first) * this.seconds, true);
    }
  }

  check(event) {
    const marked = this.outcome.marked;
    if (this.words.value.trim() || this.understood) {
      this.note("Your words are not added yet: Enter understands and adds them, Esc drops them.");
      (this.understood ? this.command : this.words).focus();
    } else if (this.said().length === 0 && !marked) {
      this.note("Nothing is said yet. Correct something, mark success (W) or failure (N), or skip.");
    } else if (!marked && this.querySelector(".stages :checked")) {
      this.note("Stages are ticked. Say too whether it was a success (W) or a failure (N).");
    } else return;
    event.preventDefault();
  }

  // --- what is drawn

  follow() {
    if (!this.clip) return;
    const at = this.here - this.first;
    const [command, by] = [this.clip.command(at), this.clip.by(at)];
    const told = this.querySelector("[data-told-words]");
    if (told.textContent !== (command || "nothing")) told.textContent = command || "nothing";
    this.querySelector("[data-told-by]").textContent = command ? `by the ${by === "nobody" ? "recording" : by}` : "";
    const stretch = this.begun === null ? this.stretch() : { start: Math.min(this.begun, this.here), stop: Math.max(this.begun, this.here) + 1 };
    const times = [stretch.start, stretch.stop].map((step) => ((step - this.first) * this.seconds).toFixed(1));
    this.querySelector("[data-where]").textContent = this.chosen || this.begun !== null ? `${times[0]}–${times[1]} s` : `at ${times[0]} s`;
    this.querySelector("[data-forget]").hidden = !this.chosen && this.begun === null;
    const coming = part(this.chosen || this.begun !== null ? "coming" : "coming moment", [stretch.start, stretch.stop], this);
    this.lanes.said.querySelector(".coming")?.remove();
    this.lanes.said.append(coming);
    for (const lane of Object.values(this.lanes)) {
      const needle = lane.querySelector(".lane-now") ?? lane.appendChild(make("span", "lane-now"));
      needle.style.insetInlineStart = `${(100 * this.player.clock.now) / this.player.clock.duration}%`;
    }
  }

  redraw() {
    const said = this.said();
    const words = (one) => `${one.type === "rejected" ? "rejected" : one.command}${one.live ? ", said live" : ""}`;
    const about = { start: this.first, seconds: this.seconds, words };
    this.querySelector("[data-list]").replaceChildren(...said.map((one, at) => line(one, at, about)));
    this.querySelector("[data-count]").textContent = said.length;
    this.querySelector("[data-none]").hidden = said.length > 0;
    if (this.command.value && !this.understood) {
      // A draft was put back: what had been understood is asked for again before it is added.
      this.command.value = "";
    }
    if (!this.clip) return;
    this.lanes.said.replaceChildren(
      ...said.map((one) => part(`said-${one.type}${one.live ? " live" : ""}`, [one.start, one.stop], this, words(one))),
    );
    const shown = windows(said, {
      decision: Number(this.dataset.decision), context: Number(this.dataset.context), first: this.first, stop: this.first + this.count,
    });
    this.lanes.trained.replaceChildren(
      ...shown.filter(({ rejected }) => !rejected).map((one) => part("context", one.context, this)),
      ...shown.map((one) => part(one.rejected ? "rejected" : "trained", one.trained, this)),
    );
    this.lanes.motion.replaceChildren(
      ...this.motions.map((one, at) => {
        const corrected = said.find((other) => other.layer === "motion" && other.start === one.start && other.stop === one.stop);
        const made = make("button", `lane-part motion${corrected ? " corrected" : ""}`);
        made.append(make("span", "lane-words", corrected?.command ?? one.label));
        made.type = "button";
        made.dataset.motion = at;
        made.title = corrected ? `${corrected.command}, instead of ${one.label}` : `${one.label}: press where it is wrong`;
        made.style.insetInlineStart = `${(100 * (one.start - this.first)) / this.count}%`;
        made.style.inlineSize = `${(100 * (one.stop - one.start)) / this.count}%`;
        return made;
      }),
    );
    this.follow();
  }

  /** What may be said by one press: what was asked back, or else what this recording knows. */
  drawChoices(others = []) {
    const known = this.motion ? this.motions.map((one) => one.label) : this.clip?.about.commands ?? [];
    const offered = others.length > 0 ? others : [...new Set(known)].slice(0, MOST_CHOICES);
    this.querySelector("[data-question]").textContent = this.motion ? `Which motion was it? Not “${this.motion.label}”` : "What should it have done?";
    this.querySelector("[data-choices]").replaceChildren(
      ...offered.map((one) => {
        const chip = make("button", "small phrase", one);
        chip.type = "button";
        chip.dir = "auto";
        chip.dataset.choice = one;
        return chip;
      }),
    );
  }

  tell(words) {
    this.querySelector("[data-heard]").textContent = words;
  }

  note(words) {
    this.dispatchEvent(new CustomEvent("kibitz:note", { bubbles: true, detail: words }));
  }
}

customElements.define("hindsight-recording", HindsightRecording);
