// <robot-page>: a robot at work, told what to do by whoever steers it. The socket says what happens; everything a
// person does is on the page at once, marked as sent, and then as the server tells what came of it.

import { Before } from "./robot_before.js";
import { Choices } from "./robot_choices.js";
import { Drive } from "./robot_drive.js";
import { Ended } from "./robot_ended.js";
import { meaning } from "./robot_keys.js";
import { Log } from "./robot_log.js";
import { Motions } from "./robot_motions.js";
import { Pace } from "./robot_pace.js";
import { People } from "./robot_people.js";
import { Say } from "./robot_say.js";
import { RobotSocket } from "./robot_socket.js";
import { Still } from "./robot_still.js";
import { Teach } from "./robot_teach.js";
import "./robot_timeline.js";
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
    this.seconds = 0.1; // of a step
    this.world = this.querySelector("robot-world[data-world=now]");
    this.timeline = this.querySelector("robot-timeline");
    this.#build();
    this.#connect();
    this.#wireKeys();
    this.#wireButtons();
    this.clock = setInterval(() => this.#tick(), 500);
    this.#dress();
  }

  disconnectedCallback() {
    clearInterval(this.clock);
    this.drive.stop();
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
    this.still = new Still(this, {
      may: () => this.you.steers && this.status === "running",
      pause: () => this.socket.send("pause"),
      resume: () => this.you.steers && this.socket.send("resume"),
    });
    this.say = new Say(this, {
      typed: (text) => this.still.typed(text),
      ask: ({ ref, text }) => this.socket.tell("understand", { ref, text }),
      say: (said) => this.#say(said),
    });
    this.log = new Log(this, { changed: (entry, before) => this.#told(entry, before) });
    this.people = new People(this, { give: (to) => this.#give(to) });
    this.motions = new Motions(this, {
      may: () => this.you.steers && !this.drives,
      send: (fields, how) => this.#hold(fields, how),
      sent: (ref, said) => this.#sent(ref, said),
    });
    this.drive = new Drive(this, {
      act: (action) => this.socket.tell("drive", { action }),
      world: this.world,
      held: this.motions.held,
      timeline: this.timeline,
    });
    this.choices = new Choices(this);
    this.ended = new Ended(this);
    this.pace = new Pace(this.show("sent"));
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
      understood: (news) => this.#understood(news),
      status: (news) => this.#status(news),
      people: (news) => this.#people(news),
      marked: (news) => this.#marked(news),
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
    this.motions.commands = news.motions ?? {};
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
    this.motions.again();
  }

  #begin({ episode, number, seed, scene, state, picture = null, bank = null, motions = this.motions.commands, step = 0, ...about }) {
    const { seconds = this.session.seconds, actions = this.session.actions } = about; // known once its process is there
    Object.assign(this.session, { seconds, actions });
    if (bank) this.say.bank = bank;
    this.motions.commands = motions;
    const again = this.episode === episode && this.scene;
    this.episode = episode;
    this.number = number;
    this.scene = scene;
    this.step = step ?? 0;
    this.seconds = seconds;
    this.show("task").textContent = scene.words ?? scene.task ?? this.session.task;
    this.show("seed").textContent = `${seed}${number > 1 ? `, episode ${number}` : ""}`;
    this.world.begin({ world: this.session.world, seconds: this.seconds / (this.session.speed ?? 1), scene, state });
    if (picture) this.world.show(picture);
    this.before.begin({ world: this.session.world, seconds: this.seconds, seed });
    if (again) return;
    this.timeline.begin(this.seconds);
    this.log.clear();
    this.drive.forget();
    if (this.drive.on) this.drive.start(this.session);
    this.pace.over();
    this.ended.forget();
    this.show("score").hidden = true;
  }

  // What a state tells of is the step before it: `step` counts those that are lived. A paused robot repeats its last.
  #state({ step, number, state, picture, score, command, by, choices }) {
    if (number !== undefined && number !== this.number) return; // of an episode whose scene is still on its way
    if (step > this.step) this.pace.stepped();
    this.step = step;
    this.world.step(state, by);
    if (picture) this.world.show(picture);
    this.before.at(step);
    if (step > 0) this.timeline.step(step - 1, command, by);
    this.show("command").textContent = command ?? "";
    this.show("command").dataset.by = by;
    if (choices) this.choices.tell(choices, { steers: this.you.steers, drives: this.drives });
    if (score !== null && score !== undefined) this.#score(score);
  }

  #score(score) {
    const words = `${Math.round(score * 100)} % done`;
    if (this.show("score").textContent !== words) this.show("score").textContent = words;
    this.show("score").hidden = false;
  }

  #correction(news) {
    const { ref, id, text, command, start, stop } = news;
    this.log.tell(news);
    this.timeline.correct(ref ?? id, { start, stop, words: text && text !== command ? `“${text}”: ${command}` : command });
    if (news.status === "waiting") return;
    this.pace.settled(ref, news.status === "in_force");
    this.#tick();
  }

  // The answer to a question of the box; or to something that was said, which was not clear and is not stored.
  #understood(news) {
    if (this.log.get(news.ref)) this.#refuse(news.ask || "That is not clear now. Say it in other words.", news.ref);
    else this.say.hear(news);
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
    if (status !== "running") this.pace.rested();
    const pause = this.querySelector("[data-do=pause]");
    pause.setAttribute("aria-pressed", status === "paused");
    pause.firstChild.textContent = status === "paused" ? "Go on " : "Pause ";
    pause.disabled = !["running", "paused"].includes(status);
    if (status === "running") this.show("ended").hidden = true;
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
    if (!mine) {
      this.motions.lose();
      this.still.yield();
    }
    this.you.steers = mine && this.you.may;
    this.people.tell({ ...this.company, me: this.you.name, may: this.you.may });
    this.#dress();
    if (this.you.steers && fine() && document.activeElement === document.body) this.#home();
  }

  // What is there only for who steers, and what fits what one does.
  #dress() {
    for (const button of this.querySelectorAll("[data-gear]")) button.setAttribute("aria-pressed", button.dataset.gear === this.gear);
    const open = this.status !== "ended";
    for (const part of this.querySelectorAll("[data-may]")) {
      const fits = !part.dataset.when || part.dataset.when === this.gear;
      part.hidden = !(this.you.steers && open && fits);
    }
    if (!this.motions.dress()) this.show("motions").hidden = true;
    for (const button of this.querySelectorAll(".robot-actions [data-do=begin], .robot-actions [data-do=end]")) {
      button.hidden = !(this.you.steers && open);
    }
    this.choices.dress(this.you.steers);
    this.querySelector("[data-do=hand_back]").disabled = !open;
    if (!open) this.show("people").textContent = "";
    if (!(this.drives && open)) this.drive.stop();
    else if (!this.drive.on) this.drive.start(this.session);
  }

  #ended(news) {
    this.drive.close(this.step);
    this.pace.over();
    const words = this.ended.tell(news);
    if (!news.again) this.#speak(words);
  }

  #marked({ success, by }) {
    this.ended.mark(success);
    if (by !== this.you.name) this.#speak(`${by} marked the episode as ${success ? "a success" : "no success"}.`);
  }

  #recording({ start, stop, discarded, by }) {
    if (by !== this.you.name) return;
    if (discarded) this.drive.forget();
    else if (stop === null || stop === undefined) this.drive.record(start ?? this.step);
    else this.drive.close(stop);
  }

  #kept({ labels, problem }) {
    if (problem) this.#problem(`Not all of the episode could be stored as labels: ${problem}`);
    else if (labels) this.ended.keep(`${labels} ${labels === 1 ? "label is" : "labels are"} stored.`);
  }

  #refuse(text, ref) {
    if (ref && this.log.get(ref)) this.log.tell({ ref, status: "refused", why: text });
    else this.#problem(text);
    this.pace.settled(ref);
  }

  #dropped({ type, ref, key }) {
    if (type !== "motion") return;
    this.motions.drop(key);
    this.pace.settled(ref);
    this.log.tell({ ref, status: "unsent", command: this.motions.commands[key] ?? key, text: "" });
  }

  // --- what the person does --------------------------------------------------------------------

  #say({ text, command }) {
    if (!this.you.steers) return;
    this.#sent(this.socket.send("say", { text, command }), { text, command });
  }

  #sent(ref, { text, command }) {
    this.pace.sent(ref);
    this.log.tell({ ref, text, command, by: this.you.name, status: "sending" });
  }

  // What is of the moment is dropped where there is no connection, and then it was never held.
  #hold(fields, how) {
    const ref = this.socket.send("motion", fields, how);
    return how?.momentary && this.socket.link !== "open" ? null : ref;
  }

  #do(what) {
    const steer = this.you.steers;
    const doing = {
      choice: () => this.choices.press(what.number),
      clear: () => this.say.clear(),
      leave: () => this.#home(),
      hand_back: () => steer && this.#handBack(),
      pause: () => steer && ["running", "paused"].includes(this.status) && this.#pause(),
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
    }[what.do];
    doing?.();
  }

  #pause() {
    this.still.yield();
    this.socket.send(this.status === "paused" ? "resume" : "pause");
  }

  #mark(success) {
    this.socket.send("mark", { success, stages: this.ended.stages });
    this.ended.mark(success);
  }

  // Nobody else holds what is held here.
  #give(to) {
    this.motions.letGo();
    this.still.over();
    this.socket.send("give", { to });
  }

  // The hands are still before it decides again: what they did a moment ago must not take it back.
  #handBack() {
    this.motions.letGo();
    this.drive.yield();
    this.socket.send("hand_back");
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
      return target === this.world || this.drives ? "picture" : "page";
    };
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.isComposing) return;
      const place = placeOf(event.target);
      const what = meaning(event, { place, empty: this.say.empty });
      if (!what) return this.#toBox(event, place);
      event.preventDefault();
      if (event.repeat) return;
      if (what.do === "motion") this.motions.press(event.code, what.key);
      else this.#do(what);
    });
    document.addEventListener("keyup", (event) => this.motions.release(event.code));
    window.addEventListener("blur", () => this.motions.letGo());
    document.addEventListener("visibilitychange", () => document.hidden && this.motions.letGo());
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
  }

  #shift(gear) {
    if (this.drives && gear !== "drive") this.#handBack();
    this.motions.letGo();
    this.gear = gear;
    this.#dress();
    this.#home();
  }

  #home() {
    if (!this.you.steers) return;
    if (this.gear === "drive") this.world.focus({ preventScroll: true });
    else this.say.focus();
  }

  // --- what the page says ----------------------------------------------------------------------

  #tick() {
    const { link, waiting } = this.socket;
    this.pace.write({ link, waiting, running: this.status === "running" });
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
