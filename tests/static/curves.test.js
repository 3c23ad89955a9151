// The frontier of a run, and a report's curves: which points, which means, which words.

import assert from "node:assert/strict";
import { test } from "node:test";

import { GOLD, KL, SCORE, frontier, frontierCsv, sayFrontier, stretches, thinned, tracesOf } from "../../static/js/curves.js";

const points = (step, value) => ({ step: Float64Array.from([...step, 99, 99]), value: Float64Array.from([...value, 7, 7]), size: step.length });

test("a row of the frontier is a step at which score and KL were both logged, whatever else is missing", () => {
  const series = new Map([
    [SCORE, points([1, 2, 3, 5], [0.1, 0.2, NaN, 0.5])],
    [KL, points([1, 2, 3, 4, 5], [-0.01, 4, 9, 16, 25])],
    [GOLD, points([2, 5], [1.5, 1.25])],
  ]);
  assert.deepEqual(frontier(series), [
    { step: 1, kl: -0.01, root: 0, score: 0.1, gold: null },
    { step: 2, kl: 4, root: 2, score: 0.2, gold: 1.5 },
    { step: 5, kl: 25, root: 5, score: 0.5, gold: 1.25 },
  ]);
  assert.deepEqual(frontier(new Map()), []);
  assert.deepEqual(frontier(new Map([[SCORE, series.get(SCORE)], [KL, undefined]])), []);
});

const rows = Array.from({ length: 10 }, (_, i) => ({ step: i + 1, kl: i, root: Math.sqrt(i), score: 2 * i, gold: i === 9 ? null : 1 }));

test("a stretch is the means of its batches in the order of steps, and its √KL that of the mean KL", () => {
  const found = stretches(rows, 5);
  assert.equal(found.length, 5);
  assert.deepEqual(found[1], { step: 4, kl: 2.5, root: Math.sqrt(2.5), score: 5, gold: 1 });
  assert.equal(found[4].gold, null);
  assert.deepEqual(stretches(rows.slice(0, 3), 16).map(({ step }) => step), [1, 2, 3]);
  assert.deepEqual(stretches([], 16), []);
});

test("a thinned frontier keeps the newest point and never more than asked", () => {
  assert.equal(thinned(rows, 10), rows);
  assert.deepEqual(thinned(rows, 4).map(({ step }) => step), [1, 4, 7, 10]);
  assert.equal(thinned(rows, 3).at(-1).step, 10);
  assert.ok(thinned(rows, 3).length <= 3);
});

test("the frontier is said in a sentence and saved as lines", () => {
  assert.equal(sayFrontier([]), "Nothing has been logged yet.");
  const sentence = "Between step 1 and 9 the KL to the reference went from 0 to 8 nat, the score from 0 to 16, gold score from 1 to 1.";
  assert.equal(sayFrontier(rows.slice(0, 9)), sentence);
  assert.ok(!sayFrontier(rows).includes("gold"));
  assert.equal(frontierCsv(rows.slice(8)), "step,kl,sqrt_kl,score,gold\n9,8,2.8284271247461903,16,1\n10,9,3,18,\n");
});

test("an interval is a bar from low to high, and a fit is a dashed line without points", () => {
  const [measured, fitted] = tracesOf(
    [
      { label: "Accuracy", x: [1, 2], y: [0.5, 0.6], low: [0.4, 0.5], high: [0.7, 0.7], n: [4, 100] },
      { label: "Law", x: [1, 2], y: [0.5, 0.6], fit: true },
    ],
    (i) => ["red", "blue"][i],
  );
  const close = (values, expected) => values.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) < 1e-12));
  close(measured.error_y.array, [0.2, 0.1]);
  close(measured.error_y.arrayminus, [0.1, 0.1]);
  assert.deepEqual([measured.mode, measured.line.dash, measured.marker.size], ["lines+markers", "solid", [5, 9]]);
  assert.equal(tracesOf([{ label: "A cloud", x: [1, 3, 2], y: [1, 2, 3] }], () => "red")[0].mode, "markers");
  assert.deepEqual([fitted.mode, fitted.line.dash, fitted.line.color, fitted.error_y], ["lines", "dash", "blue", undefined]);
});
