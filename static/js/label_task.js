// The labelling room: shows one task, holds the next ones ready, and hands what the person says to
// the outbox. Pressing a key paints the next task at once; the network is never waited for.
//
// Without this file the same page works as a form. With it, the form's submit is taken over: the
// buttons, their names and values, and their addresses are the ones the server wrote.

import { Drafts } from "./drafts.js";
import { apply, listen } from "./label_keys.js";
import { Past } from "./label_past.js";
import { element, request } from "./label_request.js";
import { showState } from "./label_state.js";
import { Told } from "./label_told.js";
import { newKey, Outbox } from "./outbox.js";

const READY = 3;
const HEARTBEAT = 60_000;
const AWAY = 10 * 60_000;
const REMEMBERED = 50;

/** Counts the seconds that a task was before someone's eyes. */
class Clock {
  constructor() {
    this.spent = 0;
    this.since = null;
  }

  run(on) {
    if (this.since !== null) this.spent += performance.now() - this.since;
    this.since = on && !document.hidden ? performance.now() : null;
  }

  seconds() {
    this.run(this.since !== null);
    return (this.spent / 1000).toFixed(2);
  }
}

class LabelTask extends HTMLElement {
  connectedCallback() {
    if (this.outbox) return;
    this.ready = []; // tasks held for this person, not yet shown
    this.given = []; // what was answered here, newest last, for undo
    this.current = null; // {id, kind, form, clock}, and the `label` where it is a past answer that is shown
    this.kindBefore = null; // what the last question was, so that a rewrite leads into the next
    this.empty = null; // the server's page for when nothing is left
    this.fetching = null;
    this.fetchAgain = false;
    this.lastSign = Date.now();
    this.keys = JSON.parse(this.dataset.keys || "{}");
    this.past = new Past(this);
    this.told = new Told(this);
    this.drafts = new Drafts({ owner: this.dataset.annotator, storage: localStorage });
    this.outbox = new Outbox({
      owner: this.dataset.annotator,
      storage: localStorage,
      send: (entry) => request(entry.url, { ...entry.fields, key: entry.key, annotator: this.dataset.annotator }),
      alone: (work) => (navigator.locks ? navigator.locks.request("kibitz.outbox", work) : work()),
    });
    this.outbox.changed = () => {
      this.showState();
      this.told.check();
    };
    this.outbox.saved = (entry, body) => this.saved(entry, body);
    this.drafts.changed = () => this.showState();

    this.refusals = document.createElement("section");
    this.refusals.className = "refused";
    this.refusals.setAttribute("aria-label", "Answers that were not taken");
    this.refusals.hidden = true;
    this.prepend(this.refusals); // above the stage: the bar below never moves

    this.addEventListener("submit", (event) => this.decide(event));
    this.addEventListener("click", (event) => this.click(event), { capture: true });
    this.addEventListener("kibitz:note", (event) => this.note(event.detail));
    // Whatever an interface does with its fields, it does when the person does one of these.
    for (const sign of ["input", "change", "click", "keyup", "drop"]) {
      this.addEventListener(sign, () => this.drafts.touch(this.current));
    }
    window.addEventListener("pagehide", () => this.drafts.keep());
    document.addEventListener("submit", (event) => {
      const work = { undo: () => this.undo(), flag: () => this.remark(event), note: () => this.remark(event) }[event.target.id];
      if (!work) return;
      event.preventDefault();
      work();
    });
    document.addEventListener("kibitz:keys", (event) => {
      this.keys = event.detail;
      for (const root of [document, ...this.ready.map((task) => task.form)]) apply(root, this.keys);
    });
    for (const sign of ["keydown", "pointerdown"]) {
      document.addEventListener(sign, () => this.alive(), { passive: true });
    }
    document.addEventListener("visibilitychange", () => this.current?.clock.run(true));
    window.addEventListener("online", () => this.outbox.flush().then(() => this.fetchMore()));
    window.addEventListener("storage", () => this.showState());
    window.addEventListener("beforeunload", (event) => {
      if (this.outbox.unstored.size > 0 || this.drafts.unkept.size > 0) event.preventDefault();
    });
    setInterval(() => this.beat(), HEARTBEAT);
    listen(document);
    document.querySelector(".room-kinds [aria-current]")?.scrollIntoView({ inline: "nearest", block: "nearest" });
    apply(document, this.keys);

    const form = this.querySelector("form.task");
    if (!form) this.empty = this.querySelector("[data-nothing]");
    // A task answered here is done, though the server could not know when it wrote this page.
    if (form?.dataset.label) this.past.from = { task: null };
    if (form && (this.past.from || !this.outbox.tasks().includes(Number(form.dataset.task)))) this.show(this.taken(form));
    else if (form) this.await(form);
    this.showState();
    this.outbox.flush();
    this.fetchMore();
  }

  // --- what is on the screen

  taken(form) {
    apply(form, this.keys);
    // Not shown yet: whoever needs more than what is written in it fetches it now.
    this.dispatchEvent(new CustomEvent("kibitz:taken", { bubbles: true, detail: form }));
    const { task, kind, label } = form.dataset;
    return { id: Number(task), kind, label, form, clock: new Clock() };
  }

  /** Puts a task on the stage; everything it needs is here already. */
  show(task) {
    this.current?.clock.run(false);
    this.drafts.keep();
    this.current = task;
    const place = this.querySelector("form.task, [data-nothing]");
    if (place !== task.form) {
      if (place) place.replaceWith(task.form);
      else this.append(task.form);
    }
    task.clock.run(true);
    // Whoever comes from another kind of question, or to the page, may press a key that would be typed.
    const focus = this.kindBefore === task.kind;
    this.kindBefore = task.kind;
    task.form.querySelector(".stage")?.focus({ preventScroll: true });
    if (this.drafts.open(task)) task.form.dispatchEvent(new CustomEvent("kibitz:restored", { bubbles: true }));
    task.form.dispatchEvent(new CustomEvent("kibitz:shown", { bubbles: true, detail: { focus } }));
  }

  /** Nothing is ready: says what is being waited for, in the same place. */
  await(place = this.querySelector("form.task, [data-nothing]")) {
    this.current?.clock.run(false);
    this.current = null;
    const shown = this.empty ?? element(
      `<div class="nothing" data-nothing><div class="empty"><h2>Fetching the next question</h2><p></p><div class="actions">
        <button type="submit" form="undo" data-action="undo" data-key="z">Undo your last answer <kbd>Z</kbd></button>
      </div><p class="decide-note" role="status" data-note></p></div></div>`,
    );
    apply(shown, this.keys);
    if (!this.empty && this.cut) {
      shown.querySelector("h2").textContent = "The server cannot be reached";
      shown.querySelector("p").textContent =
        "You have answered all that this browser held. Your answers are safe here; the next questions come when the connection is back.";
    }
    if (place) place.replaceWith(shown);
    else this.append(shown);
  }

  next() {
    const task = this.ready.shift();
    if (task) this.show(task);
    else this.await();
    this.fetchMore();
  }

  note(words) {
    const line = this.querySelector("[data-note]");
    if (line) line.textContent = words;
  }

  showState() {
    showState(this);
  }

  /** The server has it. */
  saved(entry, body) {
    if (!entry.skip && !entry.remark) this.drafts.forget(entry.task);
    if (!entry.skip && !entry.remark && !entry.revised) {
      for (const name of ["today", "total"]) this.dataset[name] = Number(this.dataset[name]) + 1;
    }
    this.told.hear(entry, body);
  }

  // --- what the person does

  click(event) {
    // The second press of a double click would judge the pair that has just appeared.
    if (event.detail > 1 && event.target.closest("button[type=submit], button:not([type])")) event.preventDefault();
    const steps = event.target.closest("[data-back-from], [data-return]");
    if (!steps || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (steps.matches("[data-return]")) this.past.leave();
    else this.past.step();
  }

  decide(event) {
    if (!event.target.matches("form.task")) return;
    event.preventDefault();
    const { form, id, clock, label } = this.current ?? {};
    if (event.target !== form || this.told.open || this.holdsRemark(form)) return;
    const button = event.submitter;
    const fields = Object.fromEntries(new FormData(form, button));
    delete fields.csrfmiddlewaretoken;
    fields.seconds = clock.seconds();
    const elsewhere = button?.hasAttribute("formaction");
    const entry = {
      key: newKey(),
      task: id,
      url: elsewhere ? button.getAttribute("formaction") : form.getAttribute("action"),
      fields,
      skip: button?.dataset.action === "skip",
      revised: Boolean(label),
      words: button?.dataset.words ?? "answered",
    };
    this.given.push({ task: this.current, key: entry.key, button, words: entry.words, revised: entry.revised });
    this.given.splice(0, this.given.length - REMEMBERED);
    clock.run(false);
    if (!entry.skip && form.hasAttribute("data-told")) this.told.wait(entry, form);
    this.outbox.add(entry).then(() => this.fetchMore());
    // A skipped task may come back by an undo, with what was begun.
    if (!entry.skip && !this.outbox.unstored.has(entry.key)) this.drafts.forget(id);
    if (this.told.open) return;
    if (entry.revised) {
      this.past.leave(`Changed: ${entry.words}.`);
      return;
    }
    this.next();
    this.note(`Last: ${entry.words}.`);
  }

  /** A flag that is written and not sent: whoever answers now would lose it. */
  holdsRemark(form) {
    const open = form.querySelector("details.remark[open]");
    const begun = open?.querySelector("input:checked") ?? [...(open?.querySelectorAll("[type=text]") ?? [])].find((one) => one.value);
    if (!begun) return false;
    begun.focus();
    this.note(`Your ${open.dataset.remark} is not sent yet: Enter sends it, Esc closes it.`);
    return true;
  }

  /** Sends a flag or a note beside the task, which stays. */
  remark(event) {
    const { form, id } = this.current;
    const fields = Object.fromEntries(new FormData(event.target, event.submitter));
    delete fields.csrfmiddlewaretoken;
    fields.remark_key = newKey();
    const flag = event.target.id === "flag";
    const words = flag ? `flagged (${fields.remark_reason.replace("_", " ")})` : "a note";
    this.outbox.add({
      key: fields.remark_key,
      task: id,
      url: event.submitter.getAttribute("formaction"),
      fields,
      remark: true,
      words,
    });
    const panel = form.querySelector(`[data-remark="${event.target.id}"]`);
    for (const field of panel.querySelectorAll("input:not([type=hidden]), select")) {
      if (field.matches("[type=radio]")) field.checked = false;
      else field.value = "";
    }
    panel.open = false;
    this.drafts.keep(this.current);
    form.querySelector(".stage")?.focus({ preventScroll: true });
    this.note(flag ? `${words[0].toUpperCase()}${words.slice(1)}. Now answer, or skip.` : "The researchers get your note. Now answer, or skip.");
  }

  /** Brings the last task back, in place, with what was chosen marked. */
  async undo() {
    const last = this.given.at(-1);
    if (last?.revised) {
      this.given.pop();
      const back = this.outbox.takeBack(last.key);
      this.note(back ? "What you had said before stands again." : "That change is saved. Step back to it to change it again.");
      return;
    }
    if (last && this.outbox.takeBack(last.key)) {
      this.given.pop();
      this.setAside();
      this.show(last.task);
      for (const cell of last.task.form.querySelectorAll("[aria-pressed][name]")) cell.removeAttribute("aria-pressed");
      if (last.button?.name) last.button.setAttribute("aria-pressed", "true");
      this.drafts.again(last.task);
      this.note(`Taken back: ${last.words}.`);
      return;
    }
    if (this.undoing) return;
    this.undoing = true;
    try {
      await this.outbox.flush();
      if (this.outbox.waiting().length > 0) {
        this.note("The last answer may have reached the server already. Undo works again when the connection is back.");
        return;
      }
      const { status, body } = await request(this.dataset.undo, {});
      if (status !== 200) {
        this.note(body?.error?.message ?? "You are signed out. Sign in again in another tab, then undo.");
        return;
      }
      for (const name of ["today", "total"]) {
        if (body.progress) this.dataset[name] = body.progress[name];
      }
      this.showState();
      if (!body.task) {
        this.note("There is nothing to undo in this study.");
        return;
      }
      this.given.pop();
      this.setAside();
      // It may have been leased again meanwhile, as one that is still to be answered.
      this.ready = this.ready.filter((task) => task.id !== body.task.id);
      this.outbox.reopen(body.task.id);
      this.show(this.taken(element(body.task.html)));
      this.note(last ? `Taken back: ${last.words}.` : "Taken back. What you had chosen is marked.");
    } catch {
      this.note("The server cannot be reached; the last answer is there already. Undo works when the connection is back.");
    } finally {
      this.undoing = false;
    }
  }

  setAside() {
    if (this.current) this.ready.unshift(this.current);
  }

  // --- holding the next tasks ready

  held() {
    const now = this.past.from ? this.past.from.task : this.current;
    return [...(now ? [now.id] : []), ...this.ready.map((task) => task.id)];
  }

  /** Leases tasks until enough are ready. One request at a time; what happened meanwhile asks for another look. */
  fetchMore() {
    if (this.fetching) this.fetchAgain = true;
    this.fetching ??= this.fetchOnce().finally(() => {
      this.fetching = null;
      if (!this.fetchAgain) return undefined;
      this.fetchAgain = false;
      return this.fetchMore();
    });
    return this.fetching;
  }

  async fetchOnce() {
    while (this.ready.length < READY) {
      const inHand = [...this.held(), ...this.outbox.tasks()];
      const query = new URLSearchParams({
        kind: this.dataset.kind,
        count: READY - this.ready.length,
        have: inHand.join(","),
      });
      let reply;
      try {
        reply = await request(`${this.dataset.next}?${query}`);
        this.cut = false;
      } catch {
        this.cut = true;
        if (!this.current) this.await();
        setTimeout(() => this.fetchMore(), 5000);
        return;
      }
      if (reply.status !== 200) {
        if (reply.status === 0) this.note("You are signed out. Sign in again in another tab; your answers are safe here.");
        setTimeout(() => this.fetchMore(), 10_000);
        return;
      }
      const known = new Set([...this.held(), ...this.outbox.tasks()]);
      const fresh = reply.body.tasks.filter((task) => !known.has(task.id));
      for (const task of fresh) this.ready.push(this.taken(element(task.html)));
      if (!this.current && this.ready.length > 0) {
        this.empty = null;
        this.show(this.ready.shift());
      }
      if (fresh.length === 0) {
        if (this.current) return;
        this.empty = element(reply.body.nothing);
        this.await();
        return;
      }
    }
  }

  // --- keeping the leases

  alive() {
    const wasAway = Date.now() - this.lastSign > AWAY;
    this.lastSign = Date.now();
    if (wasAway) this.beat();
  }

  /** Renews what is held while someone is there; whoever went away gives their tasks back by silence. */
  async beat() {
    const tasks = [...this.held(), ...this.outbox.tasks()];
    if (tasks.length === 0 || Date.now() - this.lastSign > AWAY) return;
    let reply;
    try {
      reply = await request(this.dataset.heartbeat, { tasks: tasks.join(",") });
    } catch {
      return;
    }
    if (reply.status !== 200) return;
    const lost = new Set(reply.body.lost);
    this.ready = this.ready.filter((task) => !lost.has(task.id));
    if (this.current && lost.has(this.current.id)) {
      this.note("Your turn at this question ran out while you were away. You can still answer, if nobody else took it.");
    }
    this.fetchMore();
  }
}

customElements.define("label-task", LabelTask);
