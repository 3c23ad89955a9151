// The outbox: an answer given is an answer kept, sent once, in order, and never silently dropped.
import assert from "node:assert/strict";
import { test } from "node:test";

import { describe, newKey, Outbox } from "../../static/js/outbox.js";

class Storage {
  items = new Map();
  full = false;
  get length() { return this.items.size; }
  key(i) { return [...this.items.keys()][i]; }
  getItem(name) { return this.items.get(name) ?? null; }
  removeItem(name) { this.items.delete(name); }
  setItem(name, value) {
    if (this.full) throw new DOMException("no room", "QuotaExceededError");
    this.items.set(name, value);
  }
}

/** A server that keeps what it is sent, by key, and can be cut off, or lose its reply on the way back. */
class Server {
  labels = new Map();
  requests = [];
  mode = "up";
  replies = [];
  async send(entry) {
    this.requests.push(entry.key);
    if (this.mode === "down") throw new TypeError("Failed to fetch");
    const reply = this.replies.shift();
    if (reply) return reply;
    if (!this.labels.has(entry.key)) this.labels.set(entry.key, entry.fields);
    if (this.mode === "deaf") throw new TypeError("connection reset after the server had it");
    return { status: 200, body: { label: this.labels.size } };
  }
}

function world({ storage = new Storage(), server = new Server(), owner = 1 } = {}) {
  const timers = [];
  const outbox = new Outbox({
    owner,
    storage,
    send: (entry) => server.send(entry),
    later: (callback, milliseconds) => timers.push({ callback, milliseconds }),
  });
  const tick = () => timers.shift().callback();
  return { outbox, storage, server, timers, tick };
}

const answer = (task, key = newKey()) => ({ key, task, url: `/tasks/${task}/submit/`, fields: { task } });

test("an answer is in the storage before it is sent, and out of it when the server has it", async () => {
  const { outbox, storage, server } = world();
  const done = outbox.add(answer(1));
  assert.equal(storage.length, 1);
  await done;
  assert.equal(outbox.entries().length, 0);
  assert.equal(server.labels.size, 1);
  assert.equal(describe(outbox).short, "all saved");
});

test("with the network cut, answers wait, and leave in their order when it is back", async () => {
  const { outbox, server, tick } = world();
  server.mode = "down";
  const given = [1, 2, 3].map((task) => answer(task));
  for (const one of given) await outbox.add(one);
  assert.deepEqual(outbox.tasks(), [1, 2, 3]);
  assert.match(describe(outbox).long, /3 answers are waiting to be sent; they are safe in this browser/);
  server.mode = "up";
  await tick();
  assert.deepEqual([...server.labels.keys()], given.map((one) => one.key));
  assert.equal(outbox.waiting().length, 0);
});

test("a page opened after a crash sends what the first one had kept", async () => {
  const first = world();
  first.server.mode = "down";
  await first.outbox.add(answer(5));
  const second = world({ storage: first.storage });
  assert.deepEqual(second.outbox.tasks(), [5]);
  await second.outbox.flush();
  assert.equal(second.server.labels.size, 1);
});

test("a page written while its answer was on the way knows that the task is done, until it is undone", async () => {
  const first = world();
  await first.outbox.add(answer(3));
  const second = world({ storage: first.storage }).outbox;
  assert.deepEqual(second.tasks(), [3]);
  second.reopen(3);
  assert.deepEqual(second.tasks(), []);
  await first.outbox.add(answer(4));
  second.now = () => Date.now() + 61_000;
  assert.deepEqual(second.tasks(), []);
});

test("a reply lost on the way back leads to a retry with the same key: one label", async () => {
  const { outbox, server, tick } = world();
  server.mode = "deaf";
  await outbox.add(answer(1));
  server.mode = "up";
  await tick();
  assert.equal(server.requests.length, 2);
  assert.equal(new Set(server.requests).size, 1);
  assert.equal(server.labels.size, 1);
});

test("what the server refuses is kept with its reason, and the next answers go on", async () => {
  const { outbox, server } = world();
  server.replies.push({ status: 409, body: { error: { message: "Ada answered this first.", field: null, code: "conflict" } } });
  const refused = answer(1);
  outbox.add(refused);
  await outbox.add(answer(2));
  assert.equal(server.labels.size, 1);
  assert.equal(outbox.refused()[0].problem.message, "Ada answered this first.");
  assert.deepEqual(outbox.refused()[0].fields, { task: 1 });
  assert.equal(describe(outbox).state, "bad");
  await outbox.tryAgain(refused.key);
  assert.equal(server.labels.size, 2);
});

test("a refused answer is gone only when the person gives it up", async () => {
  const { outbox, server, storage } = world();
  server.replies.push({ status: 422, body: { error: { message: "The text is empty.", field: "text", code: "invalid" } } });
  const one = answer(1);
  await outbox.add(one);
  await outbox.flush();
  assert.equal(world({ storage }).outbox.refused().length, 1);
  outbox.discard(one.key);
  assert.equal(storage.length, 0);
});

test("signed out, nothing is dropped or refused: it waits", async () => {
  const { outbox, server } = world();
  server.replies.push({ status: 0, body: null });
  await outbox.add(answer(1));
  assert.equal(outbox.waiting().length, 1);
  assert.match(describe(outbox).long, /signed out/);
});

test("a server that fails is asked again, ever less often, and at last the answer is set aside", async () => {
  const { outbox, server, timers, tick } = world();
  for (let i = 0; i < 5; i += 1) server.replies.push({ status: 500, body: null });
  await outbox.add(answer(1));
  const waits = [];
  while (timers.length) {
    waits.push(timers[0].milliseconds);
    await tick();
  }
  assert.equal(waits.length, 4);
  assert.ok(waits[3] > waits[0]);
  assert.equal(outbox.refused().length, 1);
});

test("an answer not yet sent can be taken back; one that may have arrived cannot", async () => {
  const { outbox, server } = world();
  server.mode = "down";
  const [sent, unsent] = [answer(1), answer(2)];
  await outbox.add(sent);
  outbox.pause("offline");
  await Promise.all([outbox.sending, (outbox.write({ ...unsent, at: Date.now(), order: 9, attempts: 0, failures: 0 }), null)]);
  assert.equal(outbox.takeBack(sent.key), false);
  assert.equal(outbox.takeBack(unsent.key), true);
  assert.deepEqual(outbox.tasks(), [1]);
});

test("another person on the same browser neither sees nor sends them", async () => {
  const first = world({ owner: 1 });
  first.server.mode = "down";
  await first.outbox.add(answer(1));
  const second = world({ owner: 12, storage: first.storage });
  await second.outbox.flush();
  assert.equal(second.outbox.entries().length, 0);
  assert.equal(second.server.requests.length, 0);
  assert.equal(first.outbox.entries().length, 1);
});

test("when the browser stores nothing, the answer is still sent, and the page says to stay", async () => {
  const { outbox, storage, server, tick } = world();
  storage.full = true;
  server.mode = "down";
  await outbox.add(answer(1));
  assert.match(describe(outbox).long, /Keep the page open/);
  server.mode = "up";
  await tick();
  assert.equal(server.labels.size, 1);
  assert.equal(describe(outbox).short, "all saved");
});

test("keys are UUIDs with and without crypto.randomUUID", () => {
  const shape = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  assert.match(newKey(), shape);
  const original = crypto.randomUUID;
  Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
  try {
    assert.match(newKey(), shape);
    assert.notEqual(newKey(), newKey());
  } finally {
    Object.defineProperty(crypto, "randomUUID", { value: original, configurable: true });
  }
});
