// What is drawn of a run's points, and what is said of them.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Points } from "../../static/js/run_stream.js";
import { Smoothed, csv, envelope, notFinite, say, sayClock, saySeconds, sparkline, trend, visibleRows } from "../../static/js/run_lines.js";

const steps = (count) => Float64Array.from({ length: count }, (_, i) => i);

function pointsOf(values) {
  const points = new Points();
  points.append(steps(values.length), steps(values.length), Float64Array.from(values));
  return points;
}

test("a few points are drawn as they are", () => {
  assert.deepEqual(envelope(steps(4), [3, 1, 4, 1], 0, 4, 1000), { x: [0, 1, 2, 3], y: [3, 1, 4, 1], bucket: 1 });
  assert.deepEqual(envelope(steps(0), [], 0, 0, 1000).x, []);
});

test("a spike of one step in a million is on the screen, up and down, wherever it falls", () => {
  const size = 1_000_000;
  const x = steps(size);
  for (const at of [0, 1, 499_999, 765_432, size - 1]) {
    const y = new Float64Array(size);
    y[at] = 9;
    const up = envelope(x, y, 0, size, 1000);
    assert.ok(up.x.length <= 1000, `${up.x.length} points`);
    assert.equal(up.y[up.x.indexOf(at)], 9);
    y[at] = -9;
    const down = envelope(x, y, 0, size, 1000);
    assert.equal(down.y[down.x.indexOf(at)], -9);
  }
});

test("the drawn line is in order, begins with the first point and ends with the last", () => {
  const y = Float64Array.from({ length: 5000 }, (_, i) => Math.sin(i * 1.7));
  const { x } = envelope(steps(5000), y, 137, 4321, 300);
  assert.equal(x[0], 137);
  assert.equal(x.at(-1), 4320);
  assert.ok(x.every((here, i) => i === 0 || here > x[i - 1]));
  assert.ok(x.length <= 300);
});

test("what was drawn stays where it is while points arrive", () => {
  const y = Float64Array.from({ length: 3000 }, (_, i) => Math.sin(i * 12.9898) * 43758.5453 % 1);
  const before = envelope(steps(3000), y, 0, 2990, 500);
  const after = envelope(steps(3000), y, 0, 3000, 500);
  assert.equal(before.bucket, after.bucket);
  const kept = before.x.length - 4; // the last, half-filled bucket may change
  assert.deepEqual(after.x.slice(0, kept), before.x.slice(0, kept));
});

test("rows that are not numbers leave a gap in the line and a mark of their kind", () => {
  const y = [1, NaN, 2, Infinity, -Infinity, 3];
  assert.deepEqual(envelope(steps(6), y, 0, 6, 100).y, [1, null, 2, null, null, 3]);
  assert.deepEqual(notFinite(y, 0, 6), [{ row: 1, kind: "NaN" }, { row: 3, kind: "+Inf" }, { row: 4, kind: "−Inf" }]);
});

test("a bucket with one NaN among numbers keeps its numbers, and the mark is still made", () => {
  const y = new Float64Array(10_000).fill(1);
  y[5000] = NaN;
  assert.ok(envelope(steps(10_000), y, 0, 10_000, 200).y.every((value) => value === 1));
  assert.deepEqual(notFinite(y, 0, 10_000), [{ row: 5000, kind: "NaN" }]);
  assert.ok(notFinite(new Float64Array(10_000).fill(NaN), 0, 10_000).length <= 200);
});

test("a window takes its rows and one beyond each end", () => {
  assert.deepEqual(visibleRows(steps(100), 100, 10, 20, true), [9, 22]);
  assert.deepEqual(visibleRows(steps(100), 100, -5, 500, true), [0, 100]);
  assert.deepEqual(visibleRows(steps(100), 100, 10, 20, false), [0, 100]);
  assert.deepEqual(visibleRows(Float64Array.of(0, 0, 0, 5, 5), 5, 0, 0, true), [0, 4]);
});

test("smoothing starts at the first value, is continued as points arrive, and steps over NaN", () => {
  const raw = [4, 4, NaN, 4, 8];
  const whole = new Smoothed(0.5);
  const value = [...whole.extend(raw, 5).subarray(0, 5)];
  assert.deepEqual(value.slice(0, 2), [4, 4]);
  assert.ok(Number.isNaN(value[2]));
  assert.equal(value[3], 4);
  // three rows of 4 weigh 0.5³ + 0.5² + 0.5·… : s = 0.5·(0.875·4) + 0.5·8, w = 0.9375
  assert.ok(Math.abs(value[4] - (0.5 * 3.5 + 4) / 0.9375) < 1e-12);
  const pieces = new Smoothed(0.5);
  pieces.extend(raw, 2);
  assert.deepEqual([...pieces.extend(raw, 5).subarray(0, 5)], value);
});

test("numbers are said with four digits, a true minus and no false zero", () => {
  const said = [0, 0.31274, -41.2, 12400.4, 1.25e-7, 3, 123.456, NaN, Infinity, -Infinity, null, -2e9].map((value) => say(value));
  assert.equal(say(0.31274, 2), "0.31");
  assert.deepEqual(said, ["0", "0.3127", "−41.2", "12,400", "1.25e−7", "3", "123.5", "NaN", "+Inf", "−Inf", "–", "−2.00e9"]);
});

test("times are said in the units a person would use", () => {
  assert.deepEqual([0.08, 4.25, 42.9, 134, 3729].map(saySeconds), ["80 ms", "4.3 s", "42 s", "2:14", "1:02:09"]);
  assert.equal(sayClock(5), "0:05");
});

test("a trend is called only when it stands out of the noise, and judged by which way is better", () => {
  const noise = (i) => ((i * 7919) % 101) / 101 - 0.5;
  const rising = Array.from({ length: 400 }, (_, i) => i / 50 + noise(i));
  const level = Array.from({ length: 400 }, (_, i) => noise(i));
  const judge = (values, better) => trend(Float64Array.from(values), values.length, better);
  assert.deepEqual([judge(rising, "up").words, judge(rising, "up").good], ["rising", true]);
  assert.deepEqual([judge(rising, "down").words, judge(rising, "down").good], ["rising ⚠", false]);
  assert.deepEqual([judge(rising, "none").words, judge(rising, "none").good], ["rising", null]);
  assert.equal(judge(level, "up").words, "steady");
  assert.equal(judge([...level, NaN], "up").words, "not a number");
  assert.equal(judge([1, 2, 3], "up"), null);
});

test("a sparkline spans its box and breaks where there is no number", () => {
  assert.equal(sparkline(pointsOf([0, 1, 0.5]), 100, 20), "M0.0 20.0L50.0 0.0L100.0 10.0");
  assert.equal(sparkline(pointsOf([0, NaN, 1]), 100, 20), "M0.0 20.0M100.0 0.0");
  assert.equal(sparkline(pointsOf([]), 100, 20), "");
  assert.equal(sparkline(pointsOf([5, 5]), 10, 20), "M0.0 10.0L10.0 10.0");
});

test("the CSV holds every point as logged", () => {
  assert.equal(csv('a "b"', pointsOf([0.1, NaN])), 'step,time,"a ""b"""\n0,0,0.1\n1,1,NaN\n');
});
