// A table drawn from the numbers of a state: what stands where, what is said of it, and what comes between two moments.
import assert from "node:assert/strict";
import { test } from "node:test";

import { between, describe, draw, onScreen, onTable, read, THINGS } from "../../static/js/worlds/table_talk.js";
import { fit, painter } from "../../static/js/worlds/worlds.js";

const COLOURS = {
  ...Object.fromEntries(Object.entries(THINGS).map(([name, { light }]) => [name, light])),
  on: Object.fromEntries(Object.entries(THINGS).map(([name, { on }]) => [name, on[0]])),
  ...Object.fromEntries(["table", "grid", "line", "text", "quiet", "metal", "person", "good", "bad", "tray", "rim", "edge", "shadow", "dark", "dirt", "sponge"].map((name) => [name, `the ${name}`])),
};
const thing = (colour, shape = "block", radius = 0.05) => ({ name: `${colour} ${shape}`.trim(), colour, shape, radius });
const scene = (task, things, more = {}) => ({ task, words: "", things, places: [], tray: [0, 0.7, 0.35, 0.2], spots: [], hazards: [], shift: [0, 0], ...more });
const moment = (gripper, closed, held, places, wiped = []) => Float32Array.from([...gripper, closed, held, 0, ...places.flat(), ...wiped]);

// A context that remembers what was written and where, and which colours were laid on.
function paper() {
  const seen = { written: [], fills: new Set(), strokes: new Set(), numbers: [] };
  const context = new Proxy({ fillStyle: "", strokeStyle: "" }, {
    get(kept, name) {
      if (name in kept) return kept[name];
      return (...given) => {
        seen.numbers.push(...given.flat().filter((one) => typeof one === "number"));
        if (name === "measureText") return { width: 6 * given[0].length };
        if (name === "fillText") seen.written.push(given);
        if (name === "fill") seen.fills.add(kept.fillStyle);
        if (name === "stroke") seen.strokes.add(kept.strokeStyle);
        return undefined;
      };
    },
    set(kept, name, value) {
      kept[name] = value;
      return true;
    },
  });
  return { context, seen };
}
const words = (seen) => seen.written.map(([text]) => text);

test("the far side of the table is at the top of the picture, and a point comes back to where it was", () => {
  assert.ok(onScreen(480, [0, 1])[1] < onScreen(480, [0, -1])[1]);
  for (const place of [[-1, 1], [0.25, -0.5], [1, -1]]) {
    onTable(480, onScreen(480, place)).forEach((value, i) => assert.ok(Math.abs(value - place[i]) < 1e-9));
  }
});

test("everything that has a colour wears its letter, on the table and beside a small picture", () => {
  const two = scene("pack", [thing("red"), thing("blue", "disc")]);
  const state = moment([0, 0], 0, -1, [[0.5, 0.5], [-0.5, -0.5]]);
  for (const size of [120, 480]) {
    const { context, seen } = paper();
    draw(context, size, two, state, COLOURS);
    assert.ok(words(seen).includes("R") && words(seen).includes("B"), `${size}: ${words(seen)}`);
  }
});

test("the letter stands in the middle of its thing", () => {
  const { context, seen } = paper();
  draw(context, 480, scene("pack", [thing("green")]), moment([0, 0], 0, -1, [[0.5, -0.25]]), COLOURS);
  const [, left, top] = seen.written.find(([text]) => text === "G");
  const [x, y] = onScreen(480, [0.5, -0.25]);
  assert.ok(Math.abs(left - x) < 1e-6 && Math.abs(top - y) < 2);
});

test("each task shows what it is about", () => {
  const peg = { ...thing("red", "peg", 0.03) };
  const shown = {
    pack: [scene("pack", [thing("red")]), ["tray"]],
    sort: [scene("sort", [thing("red"), thing("blue")], { spots: [[-0.7, 0.7], [0.7, 0.7]] }), ["R", "B"]],
    line: [scene("line", [thing("red")], { spots: [[0, 0.7]] }), ["R"]],
    stack: [scene("stack", [thing("red"), thing("blue")], { spots: [[0, 0.6]] }), ["bottom R ‹ B top"]],
    peg: [scene("peg", [peg], { spots: [[0, 0.6]] }), ["hole", "R peg"]],
    clean: [scene("clean", [{ name: "sponge", colour: "", shape: "sponge", radius: 0.06 }], { spots: [[0, 0.6], [0.4, 0.6]] }), ["dirt", "✓", "sponge"]],
    push: [scene("push", [thing("red")], { spots: [[0, 0.6]], hazards: [[0.5, 0, 0.12]] }), ["✕", "!"]],
  };
  for (const [task, [table, expected]] of Object.entries(shown)) {
    const { context, seen } = paper();
    const places = table.things.map((_, i) => [i / 2 - 0.5, -0.5]);
    draw(context, 480, table, moment([0, 0], 0, -1, places, table.spots.map((_, i) => i)), COLOURS);
    for (const text of expected) assert.ok(words(seen).includes(text), `${task}: ${text} among ${words(seen)}`);
    assert.ok(seen.numbers.every(Number.isFinite), task);
  }
});

test("the fingers wear the person's colour only while a person commands", () => {
  for (const [by, worn] of [["policy", false], ["person", true]]) {
    const { context, seen } = paper();
    draw(context, 480, scene("pack", []), moment([0, 0], 0, -1, []), COLOURS, { by, trail: [[0, 0], [0.1, 0]] });
    assert.equal(seen.fills.has(COLOURS.person), worn);
    assert.equal(seen.strokes.has(COLOURS.person), worn);
  }
});

test("what lies upon something is drawn above it", () => {
  const { context, seen } = paper();
  draw(context, 480, scene("stack", [thing("red"), thing("blue")]), moment([0, 0], 0, -1, [[0.5, 0.5], [0.5, 0.5]]), COLOURS);
  const [red, blue] = ["R", "B"].map((sign) => seen.written.find(([text]) => text === sign)[2]);
  assert.ok(blue < red);
});

test("what is held is drawn once, and above all that lies there", () => {
  const { context, seen } = paper();
  const two = scene("pack", [thing("red"), thing("blue")]);
  draw(context, 480, two, moment([0, 0], 1, 0, [[0, 0], [0, 0]]), COLOURS);
  assert.deepEqual(words(seen).filter((text) => ["R", "B"].includes(text)), ["B", "R"]);
});

test("between two moments things move evenly, and what is grasped is grasped at the end", () => {
  const [one, next] = [moment([0, 0], 0, -1, [[0.1, 0]]), moment([0.06, 0], 1, 0, [[0.06, 0]])];
  const half = read(scene("pack", [thing("red")]), between(one, next, 0.5));
  assert.ok(Math.abs(half.gripper[0] - 0.03) < 1e-6 && Math.abs(half.places[0][0] - 0.08) < 1e-6);
  assert.equal(half.held, -1);
  assert.equal(between(one, next, 1), next);
  assert.equal(between(moment([0, 0], 0, -1, []), next, 0.5), next, "another episode: nothing to go between");
});

test("the moment in words says what is where, from the gripper, and what is held", () => {
  const two = scene("sort", [thing("red"), thing("blue")], { spots: [[-0.7, 0.7], [0.7, 0.7]] });
  const told = describe(two, moment([0, 0], 1, 1, [[-0.3, 0.25], [0, 0]], [0, 0]));
  assert.match(told, /The gripper is in the middle, closed, holding the blue block\./);
  assert.match(told, /The red block is 30 to the left and 25 up of the gripper\./);
  assert.match(told, /The red mark is at the far left\. The blue mark is at the far right\./);
  assert.doesNotMatch(told, /The blue block is/);
  assert.match(describe(two, moment([0, 0], 0, -1, [[0.02, 0], [1, 1]], [0, 0])), /red block is under the gripper/);
});

test("what is written on a thing can be read, in both themes", () => {
  const luminance = (colour) => {
    const [red, green, blue] = colour.match(/\w\w/g).map((byte) => parseInt(byte, 16) / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  for (const [name, { light, dark, on }] of Object.entries(THINGS)) {
    for (const [ground, ink] of [[light, on[0]], [dark, on[1]]]) {
      const [low, high] = [luminance(ground), luminance(ink)].sort((x, y) => x - y);
      const ratio = (high + 0.05) / (low + 0.05);
      assert.ok(ratio >= 4.5, `${name}, ${ink} on ${ground}: ${ratio.toFixed(2)}`);
    }
  }
});

test("a world that nobody draws has no painter, whatever its name", () => {
  assert.equal(typeof painter("table_talk").draw, "function");
  for (const name of ["pendulum", "constructor", "__proto__", ""]) assert.equal(painter(name), null);
});

test("a canvas has as many pixels as the screen, and is drawn on in the page's own", () => {
  const set = [];
  const canvas = { clientWidth: 300, width: 0, height: 0, getContext: () => ({ setTransform: (...given) => set.push(given) }) };
  assert.equal(fit(canvas, 2).size, 300);
  assert.deepEqual([canvas.width, canvas.height, set[0]], [600, 600, [2, 0, 0, 2, 0, 0]]);
});
