// The clock that clips are played by, and the marks that stand in a form as text.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Clock, place, readMarks, writeMarks } from "../../static/js/clip_clock.js";

const clock = (given = {}) => new Clock({ duration: 2, step: 0.1, ...given });

test("time passes at the speed that was chosen, and only while it plays", () => {
  const one = clock();
  assert.equal(one.pass(500), false);
  assert.equal(one.now, 0);
  one.play(true);
  assert.equal(one.pass(500), true);
  assert.equal(one.now, 0.5);
  one.faster();
  assert.equal(one.speed, 2);
  one.pass(500);
  assert.equal(one.now, 1.5);
  one.faster();
  one.faster();
  assert.equal(one.speed, 0.5);
});

test("who went past the end of what is played sees the rest of it, also when they play it from a standstill", () => {
  const one = clock({ loop: false });
  one.between(0.4, 1);
  one.go(1.5);
  one.play(true);
  assert.equal(one.now, 1.5);
  one.pass(10_000);
  assert.equal(one.now, 2);
  one.play(true); // at the very end it begins again
  assert.equal(one.now, 0.4);
  one.pass(10_000);
  assert.equal(one.now, 1, "and there it ends where it was asked to");
});

test("in a loop the end is held for a moment, and then it begins again", () => {
  const one = clock();
  one.play(true);
  one.pass(5000);
  assert.equal(one.now, 2);
  assert.equal(one.pass(300), false);
  assert.equal(one.pass(300), true);
  assert.equal(one.now, 0);
  assert.equal(one.playing, true);
});

test("played once it stops at the end, and pressed there it plays again from the beginning", () => {
  const one = clock({ loop: false });
  one.play(true);
  one.pass(5000);
  assert.deepEqual([one.now, one.playing], [2, false]);
  one.play(true);
  assert.equal(one.now, 0);
});

test("only what lies between two ends is played, and whoever scrubs beyond sees the rest", () => {
  const one = clock();
  one.between(0.5, 1);
  one.go(0.9);
  one.play(true);
  one.pass(400);
  assert.equal(one.now, 1);
  one.pass(600);
  assert.equal(one.now, 0.5);
  one.go(1.5);
  one.pass(200);
  assert.equal(one.now, 1.7);
});

test("a frame on or back stands still on a whole step, and never leaves the clip", () => {
  const one = clock();
  one.play(true);
  one.go(0.34);
  one.frame(1);
  assert.equal(one.playing, false);
  assert.equal(Math.round(one.now * 10), 4);
  one.go(0.34);
  one.frame(-1);
  assert.equal(Math.round(one.now * 10), 3);
  for (let i = 0; i < 50; i += 1) one.frame(1);
  assert.equal(Math.round(one.now * 10), 19);
  for (let i = 0; i < 50; i += 1) one.frame(-1);
  assert.equal(one.now, 0);
});

test("stepping twenty times over tenths of a second loses no frame to rounding", () => {
  const one = clock({ duration: 30 });
  for (let i = 1; i <= 299; i += 1) {
    one.frame(1);
    assert.equal(place(one.now, 0.1, 300).at, i);
  }
});

test("a moment lies between two rows, and after the last one on the last", () => {
  assert.deepEqual(place(0, 0.1, 5), { at: 0, share: 0 });
  const { at, share } = place(0.25, 0.1, 5);
  assert.equal(at, 2);
  assert.ok(Math.abs(share - 0.5) < 1e-9);
  assert.deepEqual(place(0.45, 0.1, 5), { at: 4, share: 0 });
  assert.deepEqual(place(9, 0.1, 5), { at: 4, share: 0 }); // the shorter clip holds its end
});

test("marks are read as they are written, and what is no mark is left out", () => {
  const marks = [{ side: 0, start: 0, stop: 12 }, { side: 1, start: 30, stop: 41 }];
  assert.equal(writeMarks(marks), "A 0-12, B 30-41");
  assert.deepEqual(readMarks("A 0-12, B 30-41"), marks);
  assert.deepEqual(readMarks("a: 1-2,, C 1-2, A 5-5, A x, B 3 - 4"), [
    { side: 0, start: 1, stop: 2 },
    { side: 1, start: 3, stop: 4 },
  ]);
  assert.deepEqual(readMarks(""), []);
});
