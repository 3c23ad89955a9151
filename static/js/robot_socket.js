// The socket of a live session. What must not be lost is kept until the server says that it has it, and sent again,
// under the same ref, after every break: a ref that comes twice is one message. What is of the moment (a key that is
// pressed, an action that is driven) is not: a robot must not obey what was meant a minute ago.
//
// Dispatches what the server says under its own name ("hello", "state", …), "link" when the connection came or went,
// "pending" when something was sent or acknowledged, and "dropped" with each message of the moment that was lost.
// Nothing here touches the page.

import { backoff } from "./run_stream.js";

const SILENCE = 15_000; // a running robot says something ten times a second
const FRESH = 10 * 60_000; // what a closed tab left behind is sent when it comes back soon

const forgetful = { getItem: () => null, setItem() {}, removeItem() {} };

export class RobotSocket extends EventTarget {
  link = "closed"; // closed, connecting, open
  running = false;
  #socket = null;
  #pending = new Map(); // ref -> { message, momentary }
  #attempt = 0;
  #timers = {};
  #stopped = false;

  constructor(url, { connect = (address) => new WebSocket(address), store = forgetful, now = Date.now, ref = () => crypto.randomUUID() } = {}) {
    super();
    Object.assign(this, { url, connect, store, now, ref });
    for (const message of this.#left()) this.#pending.set(message.ref, { message, momentary: false });
  }

  /** How many messages the server has not acknowledged yet. */
  get waiting() {
    return this.#pending.size;
  }

  open() {
    if (this.link === "closed" && !this.#stopped) this.#dial();
  }

  hurry() {
    this.#attempt = 0;
    this.open();
  }

  stop() {
    this.#stopped = true;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#socket?.close();
  }

  /** Sends a message until it is acknowledged; one of the moment is dropped when the connection breaks. Returns its ref. */
  send(type, fields = {}, { momentary = false } = {}) {
    const message = { type, ref: this.ref(), ...fields };
    if (momentary && this.link !== "open") {
      this.#tell("dropped", message);
      return message.ref;
    }
    this.#pending.set(message.ref, { message, momentary });
    this.#keep();
    if (this.link === "open") this.#write(message);
    this.#tell("pending", { waiting: this.waiting });
    return message.ref;
  }

  /** Sends what needs no answer and no second try; false where there is no connection. */
  tell(type, fields = {}) {
    if (this.link !== "open") return false;
    this.#write({ type, ...fields });
    return true;
  }

  /** Takes back what was not acknowledged yet. */
  forget(ref) {
    if (!this.#pending.delete(ref)) return false;
    this.#keep();
    this.#tell("pending", { waiting: this.waiting });
    return true;
  }

  #dial() {
    clearTimeout(this.#timers.retry);
    this.#setLink("connecting");
    const socket = this.connect(this.url);
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      this.#attempt = 0;
      this.#listen();
      this.#hear(JSON.parse(data));
    };
    socket.onclose = ({ code, reason } = {}) => {
      if (socket !== this.#socket) return;
      if (code >= 4400 && code < 4500) this.#refused(code, reason);
      else this.#retry();
    };
  }

  // The server will not have us: trying again changes nothing.
  #refused(code, reason) {
    this.#stopped = true;
    this.#lose();
    this.#setLink("closed");
    this.#tell("refused", { code, reason });
  }

  #retry() {
    this.#socket = null;
    clearTimeout(this.#timers.silence);
    if (this.#stopped) return;
    this.#lose();
    const wait = backoff(this.#attempt);
    this.#attempt += 1;
    this.#timers.retry = setTimeout(() => this.#dial(), wait);
    this.#setLink("closed", wait);
  }

  #lose() {
    for (const [ref, { message, momentary }] of this.#pending) {
      if (!momentary) continue;
      this.#pending.delete(ref);
      this.#tell("dropped", message);
    }
    this.#tell("pending", { waiting: this.waiting });
  }

  #listen() {
    clearTimeout(this.#timers.silence);
    this.#timers.silence = setTimeout(() => {
      if (!this.running) return;
      const socket = this.#socket;
      this.#retry();
      socket?.close();
    }, SILENCE);
  }

  #hear(message) {
    if (message.type === "hello") {
      this.#setLink("open");
      for (const { message: kept } of this.#pending.values()) this.#write(kept);
    }
    if (message.type === "status" || message.type === "hello") {
      this.running = (message.status ?? message.session?.status) === "running";
    }
    if (message.ref) this.forget(message.ref);
    this.#tell(message.type, message);
  }

  #write(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #setLink(link, wait = 0) {
    this.link = link;
    this.#tell("link", { link, wait });
  }

  #keep() {
    const kept = [...this.#pending.values()].filter(({ momentary }) => !momentary).map(({ message }) => message);
    if (kept.length) this.store.setItem(this.url, JSON.stringify({ at: this.now(), kept }));
    else this.store.removeItem(this.url);
  }

  #left() {
    const { at = 0, kept = [] } = JSON.parse(this.store.getItem(this.url) ?? "{}");
    return this.now() - at < FRESH ? kept : [];
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
