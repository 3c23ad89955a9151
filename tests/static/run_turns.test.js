// Who draws when, on a clock that the test turns.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Turns } from "../../static/js/run_turns.js";

function studio() {
  let now = 0;
  const queue = [];
  const log = [];
  const plan = (callback, wait) => queue.push({ at: now + wait, callback });
  const turns = new Turns({ frame: (callback) => plan(callback, 16), later: plan, now: () => now });
  const chart = (name, cost = 0) => ({
    name,
    seen: true,
    draw: () => {
      log.push([name, now]);
      now += cost;
    },
  });
  const run = (until) => {
    for (;;) {
      queue.sort((a, b) => a.at - b.at);
      if (!queue.length || queue[0].at > until) break;
      const { at, callback } = queue.shift();
      now = Math.max(now, at);
      callback();
    }
    now = until;
  };
  return { turns, chart, run, log, queue };
}

test("charts draw one a frame", () => {
  const { turns, chart, run, log } = studio();
  for (const name of ["a", "b", "c"]) turns.ask(chart(name));
  run(100);
  assert.deepEqual(log, [["a", 16], ["b", 32], ["c", 48]]);
});

test("a chart that is asked at every frame draws four times a second", () => {
  const { turns, chart, run, log } = studio();
  const one = chart("a");
  for (let time = 0; time <= 2000; time += 10) {
    run(time);
    turns.ask(one);
  }
  assert.ok(log.length >= 7 && log.length <= 8, `${log.length} draws in 2 s`);
});

test("with more than six in view each draws at most twice a second, and none starves", () => {
  const { turns, chart, run, log } = studio();
  const charts = Array.from({ length: 12 }, (_, i) => chart(`c${i}`));
  for (let time = 0; time <= 4000; time += 10) {
    run(time);
    for (const one of charts) turns.ask(one);
  }
  const counts = charts.map(({ name }) => log.filter(([drawn]) => drawn === name).length);
  assert.ok(Math.max(...counts) <= 9 && Math.min(...counts) >= 6, counts.join(" "));
});

test("charts that are slow to draw leave three quarters of the time to the person", () => {
  const { turns, chart, run, log } = studio();
  const charts = Array.from({ length: 6 }, (_, i) => chart(`c${i}`, 50));
  for (let time = 0; time <= 4000; time += 10) {
    run(time);
    for (const one of charts) turns.ask(one);
  }
  assert.ok(log.length * 50 <= 1050 && log.length >= 15, `${log.length} draws of 50 ms in 4 s`);
});

test("a chart out of view waits until it is seen, and costs no frames meanwhile", () => {
  const { turns, chart, run, log, queue } = studio();
  const hidden = chart("hidden");
  hidden.seen = false;
  turns.ask(hidden);
  run(1000);
  assert.equal(queue.length, 0);
  hidden.seen = true;
  turns.ask(hidden);
  run(1100);
  assert.deepEqual(log, [["hidden", 1016]]);
});

test("a chart that was taken away does not draw", () => {
  const { turns, chart, run, log } = studio();
  const gone = chart("gone");
  turns.ask(gone);
  turns.forget(gone);
  run(1000);
  assert.deepEqual(log, []);
});
