// Drafts: what was begun is there again, of this task and this person alone, until the answer is in the outbox.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Drafts, fieldsOf, fill } from "../../static/js/drafts.js";

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

/** As much of a field and a form as drafts look at. */
const field = (name, value, rest = {}) => ({ name, value, type: "text", form: null, getAttribute: () => rest.of ?? null, ...rest });
const choice = (name, value, checked = false) => field(name, value, { type: "radio", checked });
const form = (...fields) => ({ querySelectorAll: () => fields });

function world({ owner = 1, storage = new Storage(), now = () => 0 } = {}) {
  const timers = [];
  const drafts = new Drafts({ owner, storage, later: (callback) => timers.push(callback), now });
  return { drafts, storage, tick: () => timers.shift()() };
}

test("what was changed is kept after a pause, and put back into a form that comes anew", () => {
  const { drafts, storage, tick } = world();
  const text = field("text", "");
  const task = { id: 7, form: form(text, choice("score", "1"), choice("score", "2")) };
  assert.equal(drafts.open(task), false);
  text.value = "Kind";
  drafts.touch(task);
  assert.equal(drafts.pending, task);
  assert.equal(storage.length, 0);
  task.form.querySelectorAll()[2].checked = true;
  drafts.touch(task);
  tick();
  assert.equal(drafts.pending, null);
  assert.equal(drafts.count(), 1);

  const fresh = { id: 7, form: form(field("text", ""), choice("score", "1"), choice("score", "2")) };
  assert.equal(world({ storage }).drafts.open(fresh), true);
  assert.deepEqual(fieldsOf(fresh.form), { ":text": "Kind", ":score=1": false, ":score=2": true });
});

test("another task and another person have drafts of their own", () => {
  const { drafts, storage } = world();
  const task = { id: 7, form: form(field("text", "")) };
  drafts.open(task);
  task.form.querySelectorAll()[0].value = "Kind";
  drafts.keep(task);
  for (const [owner, id] of [[1, 70], [2, 7], [11, 7]]) {
    const other = { id, form: form(field("text", "")) };
    assert.equal(world({ owner, storage }).drafts.open(other), false);
    assert.deepEqual(fieldsOf(other.form), { ":text": "" });
  }
});

test("who puts everything back has no draft, and an answered one is gone", () => {
  const { drafts } = world();
  const text = field("text", "as it was");
  const task = { id: 7, form: form(text) };
  drafts.open(task);
  text.value = "changed";
  drafts.keep(task);
  text.value = "as it was";
  drafts.keep(task);
  assert.equal(drafts.count(), 0);
  text.value = "changed";
  drafts.keep(task);
  drafts.forget(7);
  assert.equal(drafts.count(), 0);
  drafts.again(task); // the answer was taken back
  assert.deepEqual(drafts.of(7), { ":text": "changed" });
});

test("the key, the token and the seconds of a page are no draft; the fields of its small forms are", () => {
  const fields = [field("key", "1"), field("csrfmiddlewaretoken", "2"), field("seconds", "3"), field("remark_key", "4")];
  const flag = field("remark_text", "harmful", { of: "flag" });
  assert.deepEqual(fieldsOf(form(...fields, flag)), { "flag:remark_text": "harmful" });
});

test("several fields of one name are kept apart, in their order", () => {
  const one = form(field("text", "a"), field("text", "b"));
  const other = form(field("text", ""), field("text", ""));
  fill(other, fieldsOf(one));
  assert.deepEqual(other.querySelectorAll().map(({ value }) => value), ["a", "b"]);
});

test("a draft that the browser will not store is named until it is stored or sent", () => {
  const { drafts, storage } = world();
  storage.full = true;
  const text = field("text", "");
  const task = { id: 7, form: form(text) };
  drafts.open(task);
  text.value = "Kind";
  drafts.keep(task);
  assert.deepEqual([...drafts.unkept], [7]);
  storage.full = false;
  text.value = "Kinder";
  drafts.keep(task);
  assert.deepEqual([...drafts.unkept], []);
});

test("drafts are swept away after fourteen days", () => {
  const day = 24 * 3600_000;
  const { drafts, storage } = world();
  const text = field("text", "");
  const task = { id: 7, form: form(text) };
  drafts.open(task);
  text.value = "Kind";
  drafts.keep(task);
  assert.equal(world({ storage, now: () => 13 * day }).drafts.count(), 1);
  assert.equal(world({ storage, now: () => 15 * day }).drafts.count(), 0);
});
