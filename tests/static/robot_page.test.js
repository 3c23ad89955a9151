// What the page of a robot decides without a browser: what was understood, which key means what, what hands add up to.
import assert from "node:assert/strict";
import { test } from "node:test";

import { statesOf } from "../../static/js/robot_before.js";
import { Glide } from "../../static/js/robot_glide.js";
import { ofKeys, ofPad, ofPointer, still, together } from "../../static/js/robot_hands.js";
import { Held, meaning } from "../../static/js/robot_keys.js";
import { Phrase } from "../../static/js/robot_phrase.js";
import { Rate, saySteps, span, Times, Track } from "../../static/js/robot_track.js";

function phrase() {
  let count = 0;
  return new Phrase(() => `q${(count += 1)}`);
}

// --- the box

test("Enter sends what was understood of the very text that stands there, and nothing before it is understood", () => {
  const box = phrase();
  assert.deepEqual(box.type("go left"), { ref: "q1", text: "go left" });
  box.type("go left!");
  assert.equal(box.understand({ ref: "q1", command: "move a bit to the left" }), null);
  assert.equal(box.meant, null, "that was the answer about another text");
  box.understand({ ref: "q2", command: "move a bit to the left" });
  assert.deepEqual(box.enter(), { text: "go left!", command: "move a bit to the left" });
  assert.equal(box.enter(), null, "once");
});

test("Enter before the answer sends as soon as it is clear, and not when it is not", () => {
  const clear = phrase();
  clear.type("open");
  assert.equal(clear.enter(), null);
  assert.deepEqual(clear.understand({ ref: "q1", command: "open the gripper" }), { text: "open", command: "open the gripper" });
  const unclear = phrase();
  unclear.type("pick it");
  unclear.enter();
  assert.equal(unclear.understand({ ref: "q1", command: null, ask: "Which one?", others: ["pick up the red block"] }), null);
  assert.equal(unclear.unclear, true);
  assert.equal(unclear.enter(), null, "an unclear phrase is never sent");
  assert.equal(unclear.impatient, false, "nothing is waited for any more");
  unclear.choose("pick up the red block");
  assert.deepEqual(unclear.enter(), { text: "pick it", command: "pick up the red block" });
});

test("what a person chose instead is what is sent, until the text changes", () => {
  const box = phrase();
  box.type("up and left");
  box.understand({ ref: "q1", command: "move a bit to the left", others: ["move a bit up"] });
  box.choose("move a bit up");
  assert.equal(box.meant, "move a bit up");
  box.type("up and left please");
  assert.equal(box.meant, null);
});

test("after a break the question is asked again, unless it was answered", () => {
  const box = phrase();
  assert.equal(box.again(), null);
  box.type("left");
  assert.deepEqual(box.again(), { ref: "q1", text: "left" });
  box.understand({ ref: "q1", command: "move a bit to the left" });
  assert.equal(box.again(), null);
  box.type("   ");
  assert.equal(box.again(), null, "nothing is asked about an empty box");
});

// --- keys

const key = (code, more = {}) => ({ code, key: "", ...more });
const EMPTY = { place: "box", empty: true };
const WRITING = { place: "box", empty: false };

test("arrows and space are the robot's while the box is empty, and the writer's while it is not", () => {
  assert.deepEqual(meaning(key("ArrowLeft"), EMPTY), { do: "motion", key: "left" });
  assert.deepEqual(meaning(key("Space"), EMPTY), { do: "pause" });
  assert.equal(meaning(key("ArrowLeft"), WRITING), null);
  assert.equal(meaning(key("Space"), WRITING), null);
});

test("letters write in the box, and are keys on the picture and with Alt anywhere", () => {
  assert.equal(meaning(key("KeyO"), EMPTY), null);
  assert.deepEqual(meaning(key("KeyO"), { place: "picture", empty: true }), { do: "motion", key: "open" });
  for (const place of ["box", "picture", "control", "field", "page"]) {
    assert.deepEqual(meaning(key("KeyO", { altKey: true }), { place, empty: false }), { do: "motion", key: "open" });
    assert.deepEqual(meaning(key("Digit3", { altKey: true }), { place, empty: false }), { do: "choice", number: 3 });
  }
  assert.equal(meaning(key("Digit6", { altKey: true }), EMPTY), null);
});

test("Escape empties the box first and hands back then; a field is left by it", () => {
  const escape = { code: "Escape", key: "Escape" };
  assert.deepEqual(meaning(escape, WRITING), { do: "clear" });
  assert.deepEqual(meaning(escape, EMPTY), { do: "hand_back" });
  assert.deepEqual(meaning(escape, { place: "field", empty: true }), { do: "leave" });
});

test("a button keeps its space bar, a list its arrows, and the browser what has Ctrl", () => {
  assert.equal(meaning(key("Space"), { place: "control", empty: true }), null);
  assert.equal(meaning(key("ArrowDown"), { place: "field", empty: true }), null);
  assert.equal(meaning(key("KeyC", { ctrlKey: true }), { place: "picture", empty: true }), null);
  assert.equal(meaning(key("ArrowLeft", { shiftKey: true }), EMPTY), null, "whoever selects text moves nothing");
});

test("a held key begins once, however often it repeats, and ends once with the last of those that hold it", () => {
  const held = new Held();
  assert.equal(held.press("ArrowLeft", "left"), true);
  assert.equal(held.press("ArrowLeft", "left"), false);
  assert.equal(held.press("button left", "left"), false);
  assert.equal(held.release("ArrowLeft"), null);
  assert.equal(held.release("button left"), "left");
  assert.equal(held.release("button left"), null);
  held.press("ArrowUp", "up");
  held.press("KeyO", "open");
  assert.deepEqual(held.letGo(), ["up", "open"]);
  assert.deepEqual(held.motions, []);
});

// --- hands

test("opposite keys cancel, and close and open are the third number", () => {
  assert.deepEqual(ofKeys(["left", "up"]), [-1, 1, 0]);
  assert.deepEqual(ofKeys(["left", "right", "close"]), [0, 0, 1]);
  assert.deepEqual(ofKeys(["open"]), [0, 0, -1]);
});

test("a stick at rest does nothing, and pushed away from you it is up", () => {
  const pad = (axes, pressed = []) => ({ axes, buttons: Array.from({ length: 16 }, (_, i) => ({ pressed: pressed.includes(i) })) });
  assert.ok(still(ofPad(pad([0.1, -0.1]))));
  const [right, up] = ofPad(pad([0, -1]));
  assert.ok(Math.abs(right) < 1e-9 && Math.abs(up - 1) < 1e-9);
  assert.ok(ofPad(pad([0.2, 0]))[0] < 0.1, "it begins from nothing at the edge of the dead zone");
  assert.deepEqual(ofPad(pad([0, 0], [0, 14])).map(Math.round), [-1, 0, 1]);
  assert.deepEqual(ofPad(null), [0, 0, 0]);
});

test("a pointer pulls as fast as the gripper goes, and comes to rest upon it", () => {
  assert.deepEqual(ofPointer([1, -1], [0, 0]), [1, -1, 0]);
  const [right] = ofPointer([0.03, 0], [0, 0]);
  assert.ok(Math.abs(right - 0.5) < 1e-9);
  assert.ok(still(ofPointer(null, [0, 0])));
  assert.deepEqual(together([0, 1, 0], [0.4, -0.5, 0], [0, 0, -1]), [0.4, 1, -1]);
});

// --- between steps

const line = { between: ([x], [u], share) => [x + (u - x) * share], tip: ([x]) => [x, 0], seconds: 0.1 };

test("between two steps the picture moves evenly, begins at once and never jumps", () => {
  const glide = new Glide(line);
  glide.begin([0]);
  glide.next([1], 1000);
  assert.equal(glide.at(1000)[0], 0);
  assert.ok(Math.abs(glide.at(1050)[0] - 0.5) < 1e-9);
  glide.next([2], 1060); // early: it goes on from where it is
  assert.ok(Math.abs(glide.at(1060)[0] - 0.6) < 1e-9);
  assert.equal(glide.at(1300)[0], 2);
});

test("a still picture asks for no frame once its trail has faded", () => {
  const glide = new Glide(line);
  glide.begin([0]);
  assert.equal(glide.moving(0), false);
  glide.next([1], 1000);
  assert.equal(glide.moving(1050), true);
  assert.ok(glide.trail(1500).length > 1);
  glide.trail(2500);
  assert.equal(glide.moving(2500), false);
});

test("where nothing is to glide, each step is shown as it is", () => {
  const glide = new Glide({ ...line, still: true });
  glide.begin([0]);
  glide.next([1], 1000);
  assert.equal(glide.at(1001)[0], 1);
  assert.deepEqual([glide.moving(1001), glide.trail(1001)], [false, []]);
});

// --- the timeline and the figures

test("steps under one command are one run, and a step that comes twice counts once", () => {
  const track = new Track();
  for (const [step, command, by] of [[0, "wait", "policy"], [1, "wait", "policy"], [1, "wait", "policy"], [2, "left", "person"], [5, "left", "person"]]) track.add(step, command, by);
  assert.deepEqual(track.runs, [
    { start: 0, stop: 2, command: "wait", by: "policy" },
    { start: 2, stop: 3, command: "left", by: "person" },
    { start: 5, stop: 6, command: "left", by: "person" },
  ]);
  assert.equal(track.stop, 6);
});

test("the timeline has room ahead, and seldom rescales", () => {
  assert.deepEqual([0, 50, 92, 93, 480].map(span), [100, 100, 100, 150, 550]);
});

test("steps are said as people count them", () => {
  assert.deepEqual([saySteps(4, 9), saySteps(4, 5), saySteps(4, null), saySteps(null)], ["steps 4 to 8", "step 4", "from step 4", "not yet"]);
});

test("the rate is that of the last steps, and none when they have stopped coming", () => {
  const rate = new Rate();
  for (let i = 0; i < 40; i += 1) rate.add(i * 100);
  assert.ok(Math.abs(rate.at(3950) - 10) < 1e-9);
  assert.equal(rate.at(6000), null);
  const times = new Times();
  for (const ms of [90, 40, 60]) times.add(ms);
  assert.deepEqual([times.last, times.median], [60, 60]);
});

test("a recording's rows become states, and a file of another size is refused", () => {
  const rows = Float32Array.from([1, 2, 0.5, 0, 1, 3, 4, 1, -1, 0]);
  assert.deepEqual(statesOf(rows.buffer, 2).map((state) => [...state]), [[1, 2], [3, 4]]);
  assert.throws(() => statesOf(rows.buffer, 3), /40 bytes for 3 steps/);
});
