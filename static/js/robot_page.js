// <robot-page>: a robot at work, told what to do by whoever steers it. The socket says what happens; everything a
// person does is on the page at once, marked as sent, and then as the server tells what came of it.

import { Drive } from "./robot_drive.js";
import { Held, meaning } from "./robot_keys.js";
import { Log } from "./robot_log.js";
import { People } from "./robot_people.js";
import { Say } from "./robot_say.js";
import { RobotSocket } from "./robot_socket.js";
import { Teach } from "./robot_teach.js";
import "./robot_timeline.js";
import { Rate, Times } from "./robot_track.js";
import { Before } from "./robot_before.js";
import "./robot_world.js";

const TONES = { running: "accent", paused: "warn", waiting: "", starting: "", lost: "bad", ended: "" };
const WORDS = {
  starting: "starting", running: "running", paused: "paused", waiting: "waiting for a new episode", lost: "lost its worker", ended: "ended",
};
const REFUSED = {
  4404: "This session is not open to you any more. Go back to the study and look.",
  4429: "This page sent more than can be followed, and was cut off. Load it again.",
};
const FIELD = "select, textarea, input";
const fine = () => matchMedia("(pointer: fine)").matches;

export class RobotPage extends HTMLElement {
  connectedCallback() {
    this.facts = { ...this.dataset };
    this.status = this.dataset.status;
    this.session = null;
    this.you = { name: "", steers: false, may: false };
    this.gear = this.facts.mode;
    this.step = 0;
    this.motions = {};
    this.pressed = new Map(); // motion -> the ref under which it was said
    this.sentAt = new Map(); // ref -> when, until it is obeyed
    this.delays = new Times();
    this.rate = new Rate();
    this.held = new Held();
    this.world = this.querySelector("robot-world[data-world=now]");
    this.timeline = this.querySelector("robot-timeline");
    this.#build();
    this.#connect();
    this.#wireKeys();
    this.#wireButtons();
    this.clock = setInterval(() => this.#tick(), 500);
    this.#wearGear();
  }

  disconnectedCallback() {
    clearInterval(this.clock);
    this.socket.stop();
  }

  show(name) {
    return this.querySelector(`[data-show="${name}"]`);
  }

  get drives() {
    return this.gear === "drive" && this.you.steers;
  }

  #build() {
    const csrf = document.cookie.match(/csrftoken=([^;]+)/)?.[1] ?? this.querySelector("[name=csrfmiddlewaretoken]")?.value ?? "";
    this.say = new Say(this, {
      ask: ({ ref, text }) => this.socket.tell("understand", { ref, text }),
      say: (said) => this.#say(said),
    });
    this.log = new Log(this, { changed: (entry, before) => this.#told(entry, before) });
    this.people = new People(this, { give: (to) => this.socket.send("give", { to }) });
    this.drive = new Drive(this, {
      act: (action) => this.socket.tell("drive", { action }),
      world: this.world,
      held: this.held,
      timeline: this.timeline,
    });
    this.teach = new Teach(this, { facts: this.facts, csrf, problem: (words) => this.#problem(words) });
    this.before = new Before(this);
  }

  // --- what the server says --------------------------------------------------------------------

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new RobotSocket(`${scheme}://${location.host}${this.facts.socket}`, { store: sessionStorage });
    const hear = {
      hello: (news) => this.#hello(news),
      scene: (news) => this.#begin(news),
      state: (news) => this.#state(news),
      correction: (news) => this.#correction(news),
      understood: (news) => this.say.hear(news),
      status: (news) => this.#status(news),
      people: (news) => this.#people(news),
      steerer: (news) => this.#people(news),
      marked: ({ success, by }) => this.#marked(success, by),
      recording: (news) => this.#recording(news),
      kept: (news) => this.#kept(news),
      episode_end: (news) => this.#ended(news),
      problem: ({ text, ref }) => this.#refuse(text, ref),
      link: () => this.#tick(),
      pending: () => this.#tick(),
      dropped: (message) => this.#dropped(message),
      refused: ({ code }) => this.#problem(REFUSED[code] ?? `The server closed the connection (${code}). Load the page again.`),
    };
    for (const [name, listener] of Object.entries(hear)) {
      this.socket.addEventListener(name, ({ detail }) => listener(detail));
    }
    window.addEventListener("online", () => this.socket.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.socket.hurry());
    this.socket.open();
  }

  #hello(news) {
    this.session = news.session;
    this.you = news.you;
    this.motions = news.motions ?? {};
    this.say.bank = news.bank ?? [];
    this.show("policy").textContent = news.session.policy.name;
    if (news.scene) this.#begin({ ...news, ...news.session, scene: news.scene, state: news.state });
    for (const said of news.corrections ?? []) this.#correction(said);
    for (const recorded of news.recordings ?? []) this.#recording(recorded);
    if (news.ended) this.#ended({ ...news.ended, again: true });
    // How many watch is said here, who they are at once after.
    this.#people({ steerer: news.steerer, asking: news.asking ?? [] });
    this.#status(news.session);
    this.say.again();
    for (const motion of this.held.motions) if (!this.drives) this.#press(motion);
  }

  #begin({ episode, number, seed, scene, state, picture = null, bank = null, motions = this.motions, step = 0 }) {
    if (bank) this.say.bank = bank;
    this.motions = motions;
    const again = this.episode === episode && this.scene;
    this.episode = episode;
    this.number = number;
    this.scene = scene;
    this.step = step ?? 0;
    this.seconds = this.session?.seconds ?? 0.1;
    this.show("task").textContent = scene.words ?? scene.task ?? this.session.task;
    this.show("seed").textContent = `${seed}${number > 1 ? `, episode ${number}` : ""}`;
    this.world.begin({ world: this.session.world, seconds: this.seconds / (this.session.speed ?? 1), scene, state });
    if (picture) this.world.show(picture);
    this.before.begin({ world: this.session.world, seconds: this.seconds, seed });
    if (again) return;
    this.timeline.begin(this.seconds);
    this.log.clear();
    this.drive.forget();
    this.sentAt.clear();
    this.show("ended").hidden = true;
    this.show("kept").textContent = "";
    this.show("score").hidden = true;
    for (const name of ["mark-yes", "mark-no"]) this.querySelector(`[data-do=${name}]`).setAttribute("aria-pressed", false);
  }

  // What a state tells of is the step before it: `step` counts those that are lived. A paused robot repeats its last.
  #state({ step, number, state, picture, score, command, by, choices }) {
    if (number !== undefined && number !== this.number) return; // of an episode whose scene is still on its way
    if (step > this.step) this.rate.add(performance.now());
    this.step = step;
    this.world.step(state, by);
    if (picture) this.world.show(picture);
    this.before.at(step);
    if (step > 0) this.timeline.step(step - 1, command, by);
    this.show("command").textContent = command ?? "";
    this.show("command").dataset.by = by;
    if (choices) this.#think(choices);
    if (score !== null && score !== undefined) this.#score(score);
  }

  #score(score) {
    const words = `${Math.round(score * 100)} % done`;
    if (this.show("score").textContent !== words) this.show("score").textContent = words;
    this.show("score").hidden = false;
  }

  #think(choices) {
    const list = this.show("choices");
    this.show("choices-none").hidden = choices.length > 0;
    this.show("choices-none").textContent = this.drives ? "Nothing: you drive." : "Nothing yet. Its likeliest commands stand here, with their probabilities.";
    this.show("choices-how").hidden = !(choices.length && this.you.steers);
    while (list.children.length > choices.length) list.lastElementChild.remove();
    choices.forEach(([command, probability], i) => {
      const line = list.children[i] ?? list.appendChild(this.#choiceLine(i));
      const button = line.firstElementChild;
      const percent = Math.round(probability * 100);
      button.value = command;
      button.disabled = !this.you.steers;
      button.querySelector(".words").textContent = command;
      button.querySelector(".number").textContent = `${percent} %`;
      button.querySelector("i").style.width = `${percent}%`;
    });
  }

  #choiceLine(i) {
    const line = document.createElement("li");
    line.innerHTML = `<button type="button" class="choice-chip" data-choice="${i + 1}"><kbd>${i + 1}</kbd><span class="words"></span><span class="number"></span><i aria-hidden="true"></i></button>`;
    return line;
  }

  #correction(news) {
    const { ref, id, text, command, start, stop } = news;
    this.log.tell(news);
    this.timeline.correct(ref ?? id, { start, stop, words: text && text !== command ? `“${text}”: ${command}` : command });
    const sent = this.sentAt.get(ref);
    if (sent !== undefined && news.status !== "waiting") {
      if (news.status === "in_force") this.delays.add(performance.now() - sent);
      this.sentAt.delete(ref);
      this.#tick();
    }
  }

  // What is worth hearing, once: a correction that comes into force, or is lost.
  #told({ status, command, by, why }, before) {
    if (status === before) return;
    const who = by && by !== this.you.name ? ` (${by})` : "";
    if (status === "in_force") this.#speak(`In force${who}: ${command}.`);
    if (status === "lost") this.#speak(`Stored, but the episode ended before it could obey: ${command}.`);
    if (status === "unsent") this.#speak(`Not sent, the connection broke: ${command}.`);
    if (status === "refused") this.#speak(why);
  }

  #status({ status, why }) {
    const before = this.status;
    this.status = this.dataset.status = status;
    this.show("status").className = `badge state ${TONES[status] ?? ""}`;
    this.show("status-word").textContent = WORDS[status] ?? status;
    this.show("why").textContent = status === "running" || status === "lost" ? "" : (why ?? "");
    this.#notice("lost", status === "lost" ? `${why ?? ""} Nothing that was said is lost.` : "");
    if (status !== "starting") this.show("no-worker").hidden = true;
    if (status !== "running") this.rate.forget();
    const pause = this.querySelector("[data-do=pause]");
    pause.setAttribute("aria-pressed", status === "paused");
    pause.firstChild.textContent = status === "paused" ? "Go on " : "Pause ";
    pause.disabled = !["running", "paused"].includes(status);
    this.show("ended").hidden = this.show("ended").hidden || status === "running";
    document.title = `${status === "running" ? "▶ " : ""}${this.scene?.words ?? "Robot"} · ${status} · Kibitz`;
    if (status !== before) this.#speak(`${WORDS[status] ?? status}. ${why ?? ""}`);
    this.#dress();
    this.#tick();
  }

  #people(news) {
    this.company = { ...this.company, ...news };
    const { steerer } = this.company;
    const mine = steerer === this.you.name;
    if (mine !== this.you.steers) this.#speak(mine ? "You steer." : `${steerer ?? "Nobody"} steers now.`);
    if (!mine) this.#letGo();
    this.you.steers = mine && this.you.may;
    this.people.tell({ ...this.company, me: this.you.name, may: this.you.may });
    this.#dress();
    if (this.you.steers && fine() && document.activeElement === document.body) this.#home();
  }

  // What is there only for who steers, and what fits what one does.
  #dress() {
    const open = this.status !== "ended";
    for (const part of this.querySelectorAll("[data-may]")) {
      const fits = !part.dataset.when || part.dataset.when === this.gear;
      const motions = part.dataset.show !== "motions" || (Object.keys(this.motions).length > 0 && this.gear === "steer");
      part.hidden = !(this.you.steers && open && fits && motions);
    }
    for (const button of this.querySelectorAll("[data-motion]")) button.hidden = !(button.dataset.motion in this.motions);
    for (const button of this.querySelectorAll(".robot-actions [data-do=begin], .robot-actions [data-do=end]")) {
      button.hidden = !(this.you.steers && open);
    }
    for (const chip of this.querySelectorAll("[data-choice]")) chip.disabled = !this.you.steers;
    this.show("choices-how").hidden = !(this.you.steers && this.show("choices").childElementCount);
    this.querySelector("[data-do=hand_back]").disabled = !open;
    if (!open) this.show("people").textContent = "";
  }

  #ended({ score, success, why, stages = null, marked = null, again = false }) {
    this.drive.close(this.step);
    this.sentAt.clear();
    const done = score === null || score === undefined ? "" : ` ${Math.round(score * 100)} % of the task was done.`;
    const words = `The episode is over${why ? `: ${why.replace(/\.$/, "")}` : ""}.${done}`;
    this.show("ended-words").textContent = words;
    this.show("ended").hidden = false;
    this.show("ended").className = `robot-ended ${success ? "good" : ""}`;
    if (marked !== null) this.#marked(marked);
    this.#stages(stages);
    if (!again) this.#speak(words);
  }

  #marked(success, by = "") {
    this.querySelector("[data-do=mark-yes]").setAttribute("aria-pressed", success === true);
    this.querySelector("[data-do=mark-no]").setAttribute("aria-pressed", success === false);
    if (by && by !== this.you.name) this.#speak(`${by} marked the episode as ${success ? "a success" : "no success"}.`);
  }

  // One box for each stage of the task, as the world sees it until a person says otherwise.
  #stages(seen) {
    const place = this.show("stages");
    const stages = Object.entries(seen ?? {});
    place.hidden = !stages.length;
    place.replaceChildren(place.querySelector("legend"), ...stages.map(([name, done]) => {
      const label = document.createElement("label");
      label.className = "choice";
      label.append(Object.assign(document.createElement("input"), { type: "checkbox", name, checked: done }), name);
      return label;
    }));
  }

  #recording({ start, stop, discarded, by }) {
    if (by !== this.you.name) return;
    if (discarded) this.drive.forget();
    else if (stop === null || stop === undefined) this.drive.record(start ?? this.step);
    else this.drive.close(stop);
  }

  #kept({ labels, problem }) {
    if (problem) this.#problem(`Not all of the episode could be stored as labels: ${problem}`);
    else if (labels) this.show("kept").textContent = `${labels} ${labels === 1 ? "label is" : "labels are"} stored.`;
  }

  #refuse(text, ref) {
    if (ref && this.log.get(ref)) this.log.tell({ ref, status: "refused", why: text });
    else this.#problem(text);
    this.sentAt.delete(ref);
  }

  #dropped({ type, ref, key }) {
    if (type !== "motion") return;
    this.pressed.delete(key);
    this.sentAt.delete(ref);
    this.log.tell({ ref, status: "unsent", command: this.motions[key] ?? key, text: "" });
  }

  // --- what the person does --------------------------------------------------------------------

  #say({ text, command }) {
    if (!this.you.steers) return;
    this.#sent(this.socket.send("say", { text, command }), { text, command });
  }

  #sent(ref, { text, command }) {
    this.sentAt.set(ref, performance.now());
    this.log.tell({ ref, text, command, by: this.you.name, status: "sending" });
  }

  #press(motion) {
    this.querySelector(`[data-motion="${motion}"]`)?.classList.add("held");
    if (this.drives || !this.you.steers || this.pressed.has(motion)) return;
    const command = this.motions[motion];
    if (!command) return;
    const ref = this.socket.send("motion", { key: motion, down: true }, { momentary: true });
    if (this.socket.link !== "open") return;
    this.pressed.set(motion, ref);
    this.#sent(ref, { text: motion, command });
  }

  #release(motion) {
    this.querySelector(`[data-motion="${motion}"]`)?.classList.remove("held");
    const ref = this.pressed.get(motion);
    if (!ref) return;
    this.pressed.delete(motion);
    this.socket.send("motion", { key: motion, down: false });
  }

  #letGo() {
    for (const motion of this.held.letGo()) this.#release(motion);
  }

  #do(what) {
    const steer = this.you.steers;
    const doing = {
      motion: () => {},
      choice: () => this.querySelector(`[data-choice="${what.number}"]`)?.click(),
      clear: () => this.say.clear(),
      leave: () => this.#home(),
      hand_back: () => steer && (this.#letGo(), this.socket.send("hand_back")),
      pause: () => steer && ["running", "paused"].includes(this.status) && this.socket.send(this.status === "paused" ? "resume" : "pause"),
      mark: () => steer && this.#mark(what.success),
      begin: () => steer && this.socket.send("begin"),
      record: () => this.drives && this.socket.send("record"),
      discard: () => this.drives && this.drive.range && this.socket.send("discard"),
      keep: () => this.#keep(what.success),
      describe: () => this.#describe(),
      steer: () => this.socket.send("steer"),
      end: () => steer && this.socket.send("end"),
      teach: () => this.teach.start(),
      dismiss: () => { this.show("problem").hidden = true; },
      talk: () => {},
    }[what.do];
    doing?.();
  }

  #mark(success) {
    const stages = Object.fromEntries([...this.show("stages").querySelectorAll("input")].map(({ name, checked }) => [name, checked]));
    this.socket.send("mark", { success, stages });
    this.#marked(success);
  }

  // What was recorded is kept unless it is discarded: what remains is where it begins and ends, and how it went.
  #keep(success) {
    const { range, whole } = this.drive;
    if (range.join() !== whole.join()) this.socket.send("trim", { start: range[0], stop: range[1] });
    this.#mark(success);
    this.drive.forget();
  }

  #describe() {
    const words = this.world.describe();
    this.show("words").textContent = words;
    this.show("words").hidden = false;
    this.#speak(words);
  }

  #wireKeys() {
    const placeOf = (target) => {
      if (target === this.say.box) return "box";
      if (target.closest?.("button, a, summary")) return "control";
      if (target.closest?.(FIELD)) return "field";
      return target === this.world || (this.drives && !target.closest?.(FIELD)) ? "picture" : "page";
    };
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.isComposing) return;
      const place = placeOf(event.target);
      const what = meaning(event, { place, empty: this.say.empty });
      if (!what) return this.#toBox(event, place);
      event.preventDefault();
      if (what.do === "motion") {
        if (this.held.press(event.code, what.key)) this.#press(what.key);
      } else if (!event.repeat) this.#do(what);
    });
    document.addEventListener("keyup", (event) => {
      const motion = this.held.release(event.code);
      if (motion) this.#release(motion);
    });
    window.addEventListener("blur", () => this.#letGo());
    document.addEventListener("visibilitychange", () => document.hidden && this.#letGo());
  }

  // Whatever is typed on the bare page is meant for the box.
  #toBox(event, place) {
    if (place !== "page" || this.gear !== "steer" || event.key.length !== 1 || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.you.steers) this.say.focus();
  }

  #wireButtons() {
    this.addEventListener("click", ({ target }) => {
      const button = target.closest("[data-do], [data-gear], [data-choice]");
      if (!button || button.disabled) return;
      const { do: name, gear, choice } = button.dataset;
      if (gear) this.#shift(gear);
      else if (choice) this.#say({ text: button.value, command: button.value });
      else if (name.startsWith("mark-")) this.#do({ do: "mark", success: name === "mark-yes" });
      else if (name.startsWith("keep-")) this.#do({ do: "keep", success: name === "keep-yes" });
      else this.#do({ do: name });
      if (fine() && name !== "talk" && !gear) this.#home();
    });
    for (const button of this.querySelectorAll("[data-motion]")) {
      const { motion } = button.dataset;
      button.addEventListener("pointerdown", (event) => {
        event.preventDefault(); // the box keeps the keyboard
        button.setPointerCapture(event.pointerId);
        if (this.held.press(`button ${motion}`, motion)) this.#press(motion);
      });
      const up = () => this.held.release(`button ${motion}`) && this.#release(motion);
      for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(end, up);
      button.addEventListener("keydown", (event) => {
        if (!["Space", "Enter"].includes(event.code)) return;
        event.preventDefault();
        if (this.held.press(event.code, motion)) this.#press(motion);
      });
    }
  }

  #shift(gear) {
    if (this.gear === "drive" && gear !== "drive" && this.you.steers) this.socket.send("hand_back");
    this.gear = gear;
    this.#letGo();
    this.#wearGear();
    this.#dress();
    this.#home();
  }

  #wearGear() {
    for (const button of this.querySelectorAll("[data-gear]")) button.setAttribute("aria-pressed", button.dataset.gear === this.gear);
    if (this.gear === "drive") this.drive.start(this.session?.seconds ?? 0.1);
    else this.drive.stop();
  }

  #home() {
    if (!this.you.steers) return;
    if (this.gear === "drive") this.world.focus({ preventScroll: true });
    else this.say.focus();
  }

  // --- what the page says ----------------------------------------------------------------------

  #tick() {
    const { link, waiting } = this.socket;
    const now = performance.now();
    const parts = [];
    if (link !== "open") parts.push(link === "connecting" ? "connecting …" : "not connected");
    else if (this.status === "running") {
      const rate = this.rate.at(now);
      parts.push(rate ? `running ${Math.round(rate)}/s` : "running");
    } else parts.push(WORDS[this.status] ?? this.status);
    if (this.delays.last !== null) parts.push(`key to action ${Math.round(this.delays.last)} ms`);
    parts.push(waiting ? `${waiting} waiting to be sent` : "all sent");
    const line = this.show("sent");
    const words = parts.join(" · ");
    if (line.textContent !== words) line.textContent = words;
    line.dataset.mood = link !== "open" ? "cut" : waiting ? "behind" : "live";
    line.title = this.delays.median === null ? "" : `Key to action, the middle of the last: ${Math.round(this.delays.median)} ms`;
    const cut = link !== "open" && this.session !== null;
    this.#notice("offline", cut ? `This page has lost its connection. ${this.you.steers ? "The robot is paused until you are back. " : ""}${waiting ? `${waiting} ${waiting === 1 ? "message waits" : "messages wait"} to be sent; ${waiting === 1 ? "it is" : "they are"} safe in this browser. ` : ""}Trying again.` : "");
  }

  #notice(name, words) {
    const notice = this.show(name);
    notice.hidden = !words;
    if (notice.firstElementChild.textContent !== words) notice.firstElementChild.textContent = words;
  }

  #problem(words) {
    this.#notice("problem", words);
  }

  // A reader hears one thing after another; the same words twice are said twice.
  #speak(words) {
    const place = this.show("spoken");
    place.textContent = place.textContent === words ? `${words}\u00a0` : words;
  }
}

customElements.define("robot-page", RobotPage);
