// What a setting's field says of what was written in it: the words of trainers/registry.py.

import assert from "node:assert/strict";
import { test } from "node:test";

import { problem } from "../../static/js/run_settings.js";

test("a number within its bounds is fine in every spelling that Python reads, and so is nothing", () => {
  const positive = { low: 0, above: true };
  for (const text of ["", "  ", "3e-4", "0.5", ".5", "1.", " 7 ", "+2", "1_000", "1E3"]) assert.equal(problem("lr", text, positive), "", text);
  assert.equal(problem("share", "0", { low: 0, high: 1 }), "");
  assert.equal(problem("share", "1", { low: 0, high: 1 }), "");
  assert.equal(problem("held_out", "0.99", { low: 0, high: 1, below: true }), "");
  assert.equal(problem("epochs", "2.0", { low: 1, whole: true }), "");
  assert.equal(problem("shift", "-3.5"), "");
});

test("anything else is quoted, with what was expected", () => {
  assert.equal(problem("lr", "fast", { low: 0, above: true }), "'lr' is 'fast'. Expected a number above 0.");
  assert.equal(problem("lr", "0", { low: 0, above: true }), "'lr' is '0'. Expected a number above 0.");
  assert.equal(problem("held_out", "1.5", { low: 0, high: 1 }), "'held_out' is '1.5'. Expected a number of at least 0 and at most 1.");
  assert.equal(problem("held_out", "1", { low: 0, high: 1, below: true }), "'held_out' is '1'. Expected a number of at least 0 and below 1.");
  assert.equal(problem("epochs", "1.5", { low: 1, whole: true }), "'epochs' is '1.5'. Expected a whole number of at least 1.");
  for (const text of ["nan", "inf", "1e999", "0x10", "1 2", "--1", "1e"]) assert.notEqual(problem("shift", text), "", text);
});
