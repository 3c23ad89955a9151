// Answers on their way to the server, and remarks beside them. Each is written into the browser's storage before
// anything else happens, and leaves it only when the server has said that it has it: so a reload, a
// crash or a cut network loses nothing, and the key made here keeps a retry from counting twice.
//
// One entry is one storage item, so that two tabs never overwrite each other's. They leave oldest
// first, one at a time. What the server refuses stays here too, for the person to see and decide.
//
// No document in this file: storage, network and clock come from outside, and node tests it whole.

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30_000;
const SERVER_FAILURES = 5;
const JUST_NOW = 60_000;

/** A UUID, also where `crypto.randomUUID` is missing: on plain http outside this machine. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Answers and skips do; a change of mind is about a task done before, and a remark leaves the task where it is. */
const endsTask = (entry) => !entry.revised && !entry.remark;

export class Outbox {
  /**
   * owner    whose answers these are: another person on this browser never sends them
   * storage  like localStorage
   * send     (entry) => Promise<{status, body}>; rejects when there is no connection
   * later    (callback, milliseconds), like setTimeout
   * alone    (work) => Promise, runs the work in one tab at a time
   */
  constructor({
    owner,
    storage,
    send,
    later = (callback, milliseconds) => setTimeout(callback, milliseconds),
    alone = (work) => work(),
    now = Date.now,
  }) {
    this.prefix = `kibitz.outbox.${owner}.`;
    this.sent = `kibitz.sent.${owner}`;
    this.storage = storage;
    this.send = send;
    this.later = later;
    this.alone = alone;
    this.now = now;
    this.unstored = new Map();
    this.trouble = null;
    this.wait = FIRST_WAIT;
    this.retry = null;
    this.sending = null;
    this.changed = () => {};
    this.saved = () => {};
  }

  /** Every entry, oldest first; refused ones have a `problem`. */
  entries() {
    const found = [...this.unstored.values()];
    for (let i = 0; i < this.storage.length; i += 1) {
      const name = this.storage.key(i);
      if (!name.startsWith(this.prefix)) continue;
      const entry = JSON.parse(this.storage.getItem(name));
      if (!this.unstored.has(entry.key)) found.push(entry);
    }
    return found.sort((one, other) => one.at - other.at || one.order - other.order);
  }

  waiting() {
    return this.entries().filter((entry) => !entry.problem);
  }

  refused() {
    return this.entries().filter((entry) => entry.problem);
  }

  /**
   * Tasks answered here that a page may still show: those not sent yet, and those sent while the
   * server was writing that page.
   */
  tasks() {
    return [...this.waiting().filter(endsTask), ...this.justSent()].map((entry) => entry.task);
  }

  justSent() {
    const sent = JSON.parse(this.storage.getItem(this.sent) ?? "[]");
    return sent.filter((entry) => this.now() - entry.at < JUST_NOW);
  }

  /** An undo has brought this task back. */
  reopen(task) {
    this.keepSent(this.justSent().filter((entry) => entry.task !== task));
  }

  keepSent(entries) {
    try {
      this.storage.setItem(this.sent, JSON.stringify(entries));
    } catch {
      // A browser that stores nothing has no older page of ours to correct.
    }
  }

  /**
   * Keeps an answer: {key, task, url, fields, words}, with `skip`, `revised` or `remark` where it is one of these.
   * On the disk when this returns, if the browser allows.
   */
  add(entry) {
    this.order = (this.order ?? 0) + 1;
    this.write({ ...entry, at: this.now(), order: this.order, attempts: 0, failures: 0 });
    this.changed();
    return this.flush();
  }

  /** Takes back an answer that cannot have reached the server. False when it may have. */
  takeBack(key) {
    const entry = this.waiting().find((one) => one.key === key);
    if (!entry || entry.attempts > 0) return false;
    this.forget(key);
    this.changed();
    return true;
  }

  /** The person gives up a refused answer. */
  discard(key) {
    this.forget(key);
    this.changed();
  }

  /** The person wants a refused answer tried once more. */
  tryAgain(key) {
    const entry = this.refused().find((one) => one.key === key);
    if (!entry) return Promise.resolve();
    delete entry.problem;
    this.write({ ...entry, failures: 0 });
    this.changed();
    return this.flush();
  }

  /** Sends what waits. Called again while it runs, it is the same run. */
  flush() {
    clearTimeout(this.retry);
    this.sending ??= this.alone(() => this.sendAll()).finally(() => {
      this.sending = null;
      this.changed();
      // An answer given between the last look and here has been told that it is being sent.
      if (!this.trouble && this.waiting().length > 0) this.flush();
    });
    return this.sending;
  }

  async sendAll() {
    for (;;) {
      const entry = this.waiting()[0];
      if (!entry) {
        this.trouble = null;
        return;
      }
      // Written before the request leaves: from here on the server may have it.
      this.write({ ...entry, attempts: entry.attempts + 1 });
      this.changed();
      let reply;
      try {
        reply = await this.send(entry);
      } catch {
        this.pause("offline");
        return;
      }
      if (!this.settle({ ...entry, attempts: entry.attempts + 1 }, reply)) return;
    }
  }

  /** Acts on the server's word about one entry; true when the next one may go. */
  settle(entry, { status, body }) {
    if (status >= 200 && status < 300) {
      this.forget(entry.key);
      if (endsTask(entry)) this.keepSent([...this.justSent(), { task: entry.task, at: this.now() }]);
      this.trouble = null;
      this.wait = FIRST_WAIT;
      this.saved(entry, body);
      this.changed();
      return true;
    }
    if (status === 0 || status === 401 || status === 403) {
      this.pause("signed out");
      return false;
    }
    if (status === 429 || status >= 500) {
      const failures = entry.failures + (status === 429 ? 0 : 1);
      if (failures < SERVER_FAILURES) {
        this.write({ ...entry, failures });
        this.pause("server");
        return false;
      }
    }
    const message = body?.error?.message ?? `The server answered ${status} and gave no reason.`;
    this.write({ ...entry, problem: { status, message, field: body?.error?.field ?? null } });
    this.changed();
    return true;
  }

  pause(trouble) {
    this.trouble = trouble;
    this.retry = this.later(() => this.flush(), this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
    this.changed();
  }

  write(entry) {
    try {
      this.storage.setItem(this.prefix + entry.key, JSON.stringify(entry));
      this.unstored.delete(entry.key);
    } catch {
      this.unstored.set(entry.key, entry);
    }
  }

  forget(key) {
    this.unstored.delete(key);
    this.storage.removeItem(this.prefix + key);
  }
}

/** What the status line says: {state, short, long}. A draft that this browser keeps is safe, and so far all there is. */
export function describe(outbox, drafts = { unkept: new Set(), pending: null, count: () => 0 }) {
  const waiting = outbox.waiting();
  const refused = outbox.refused();
  const unstored = [...outbox.unstored.values()];
  if (unstored.length > 0) {
    return {
      state: "bad",
      short: `${things(unstored)} in this page alone`,
      long: "This browser stores nothing for this site (full, or forbidden). Keep the page open until all is sent.",
    };
  }
  if (refused.length > 0) {
    return {
      state: "bad",
      short: `${things(refused)} not taken`,
      long: "The server did not take everything. Nothing is lost: see below what to do.",
    };
  }
  if (drafts.unkept.size > 0) {
    return {
      state: "bad",
      short: "draft not kept",
      long: "This browser stores nothing for this site (full, or forbidden). What you are writing is in this page alone: send it before you leave.",
    };
  }
  const are = waiting.length === 1 ? "is" : "are";
  const safe = waiting.length === 1 ? "it is safe in this browser" : "they are safe in this browser";
  const because = {
    offline: "The server cannot be reached. ",
    server: "The server has trouble. ",
    "signed out": "You are signed out, or signed in as someone else. Sign in again in another tab. ",
  };
  if (waiting.length > 0 && outbox.trouble) {
    return {
      state: "warn",
      short: `${waiting.length} waiting`,
      long: `${because[outbox.trouble]}${things(waiting)} ${are} waiting to be sent; ${safe}.`,
    };
  }
  if (waiting.length > 0) {
    return {
      state: "busy",
      short: `saving ${waiting.length}`,
      long: `${things(waiting)} ${are} on the way; ${safe} until then.`,
    };
  }
  if (drafts.pending) return { state: "busy", short: "keeping…", long: "What you are writing is being kept in this browser." };
  const count = drafts.count();
  const begun = count > 0 ? ` ${count} that you have begun ${count === 1 ? "is" : "are"} kept in this browser.` : "";
  return { state: "good", short: "all saved", long: `The server has every answer you gave.${begun}` };
}

/** "2 answers and 1 remark". */
function things(entries) {
  const remarks = entries.filter((entry) => entry.remark).length;
  const answers = entries.length - remarks;
  const said = (count, word) => (count > 0 ? [`${count} ${word}${count === 1 ? "" : "s"}`] : []);
  return [...said(answers, "answer"), ...said(remarks, "remark")].join(" and ");
}
