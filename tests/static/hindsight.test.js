// What of a recording is trained on, once corrections are said about it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ordered, windows } from "../../static/js/interfaces/hindsight_list.js";

const about = { decision: 3, context: 15, first: 10, stop: 60 };
const said = (start, stop, type = "correction") => ({ start, stop, type });

test("the steps of the decision are trained on, and those before it only looked back on", () => {
  assert.deepEqual(windows([said(30, 40)], about), [{ rejected: false, trained: [30, 33], context: [15, 30] }]);
});

test("a short correction is trained on no longer than it holds, and the recording has a beginning and an end", () => {
  assert.deepEqual(windows([said(30, 31)], about)[0].trained, [30, 31]);
  assert.deepEqual(windows([said(12, 20)], about)[0].context, [10, 12]);
  assert.deepEqual(windows([said(59, 70)], about)[0].trained, [59, 60]);
});

test("a rejected stretch is trained on nowhere", () => {
  assert.deepEqual(windows([said(20, 30, "rejected")], about), [{ rejected: true, trained: [20, 30], context: [20, 20] }]);
});

test("corrections stand in the order of their steps, and their list is not changed by that", () => {
  const list = [said(20, 30), said(5, 9), said(5, 7)];
  assert.deepEqual(ordered(list).map(({ start, stop }) => [start, stop]), [[5, 7], [5, 9], [20, 30]]);
  assert.equal(list[0].start, 20);
});
