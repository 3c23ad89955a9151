// The word diff: what it shows is true, and small.
import assert from "node:assert/strict";
import { test } from "node:test";

import { changes, diff, distance, pieces, words } from "../../static/js/diff.js";

const side = (parts, kinds) => parts.filter((part) => kinds.includes(part.kind)).map((part) => part.text).join("");

function random(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

test("one changed word is one word out and one word in", () => {
  assert.deepEqual(diff("The room is cold.", "The room is warm."), [
    { kind: "same", text: "The room is " },
    { kind: "removed", text: "cold" },
    { kind: "added", text: "warm" },
    { kind: "same", text: "." },
  ]);
});

test("equal texts, empty texts and texts with nothing in common are told as they are", () => {
  assert.deepEqual(diff("", ""), []);
  assert.deepEqual(diff("same", "same"), [{ kind: "same", text: "same" }]);
  assert.deepEqual(diff("", "new"), [{ kind: "added", text: "new" }]);
  assert.deepEqual(diff("old", ""), [{ kind: "removed", text: "old" }]);
  assert.deepEqual(diff("one", "two"), [{ kind: "removed", text: "one" }, { kind: "added", text: "two" }]);
});

test("the parts give back both texts, whatever they were", () => {
  const next = random(7);
  const sentence = () => Array.from({ length: Math.floor(next() * 40) }, () => "abcde"[Math.floor(next() * 5)]).join(next() < 0.5 ? " " : "\n");
  for (let i = 0; i < 500; i += 1) {
    const [before, after] = [sentence(), sentence()];
    const parts = diff(before, after);
    assert.equal(side(parts, ["same", "removed"]), before);
    assert.equal(side(parts, ["same", "added"]), after);
  }
});

test("no shorter script exists: against the table of longest common subsequences", () => {
  const next = random(11);
  for (let i = 0; i < 200; i += 1) {
    const [before, after] = [0, 1].map(() => Array.from({ length: Math.floor(next() * 12) }, () => "abc"[Math.floor(next() * 3)]));
    const table = Array.from({ length: before.length + 1 }, () => new Array(after.length + 1).fill(0));
    for (let x = 1; x <= before.length; x += 1) {
      for (let y = 1; y <= after.length; y += 1) {
        table[x][y] = before[x - 1] === after[y - 1] ? table[x - 1][y - 1] + 1 : Math.max(table[x - 1][y], table[x][y - 1]);
      }
    }
    const same = pieces(before, after).filter((piece) => piece.kind === "same").length;
    assert.equal(same, table[before.length][after.length], `${before} against ${after}`);
  }
});

test("letters of every script stay in their words", () => {
  assert.deepEqual(words("naïve Müßiggang, don't"), ["naïve", " ", "Müßiggang", ",", " ", "don't"]);
  assert.equal(words("日本 語").length, 3);
});

test("the distance counts words and not spaces", () => {
  assert.deepEqual(distance("a b c", "a  x c d"), { removed: 1, added: 2 });
});

test("two books with nothing in common are compared without hanging", () => {
  const book = (word) => Array.from({ length: 20_000 }, (_, i) => word + i).join(" ");
  const before = performance.now();
  const parts = diff(book("a"), book("b"));
  assert.ok(performance.now() - before < 2000);
  assert.equal(side(parts, ["same", "added"]), book("b"));
});

test("texts that are far apart are compared line by line, and within changed lines by words", () => {
  const before = Array.from({ length: 400 }, (_, i) => `Line ${i} is about old${i} and ancient${i} matters.`);
  const after = before.map((line, i) => (i % 4 === 0 ? line : line.replace(`old${i}`, `new${i}`).replace(`ancient${i}`, `recent${i}`)));
  const { parts, removed, added } = changes(before.join("\n"), after.join("\n"));
  assert.deepEqual({ removed, added }, { removed: 600, added: 600 });
  assert.equal(side(parts, ["same", "removed"]), before.join("\n"));
  assert.equal(side(parts, ["same", "added"]), after.join("\n"));
  assert.ok(side(parts, ["same"]).includes("Line 1 is about "));
});

test("the parts of long texts give back both, however far apart they are", () => {
  const next = random(23);
  const text = () => Array.from({ length: 1500 }, () => `w${Math.floor(next() * 40)}${next() < 0.1 ? "\n" : " "}`).join("");
  for (let i = 0; i < 5; i += 1) {
    const [before, after] = [text(), text()];
    const { parts } = changes(before, after);
    assert.equal(side(parts, ["same", "removed"]), before);
    assert.equal(side(parts, ["same", "added"]), after);
  }
});

test("a rewrite of twenty kilobytes is compared while one writes", () => {
  const word = (i) => `word${(i * 7919) % 1000}${i % 12 === 11 ? ".\n" : ""}`;
  const before = Array.from({ length: 2600 }, (_, i) => word(i)).join(" ");
  assert.ok(before.length > 20_000);
  const spot = before.indexOf(" ", 9000);
  const typed = `${before.slice(0, spot)} and more${before.slice(spot)}`;
  changes(before, typed);
  const began = performance.now();
  for (let i = 0; i < 20; i += 1) changes(before, typed);
  const each = (performance.now() - began) / 20;
  assert.ok(each < 40, `${each.toFixed(1)} ms for each key`);
  const other = Array.from({ length: 2600 }, (_, i) => word(i + 31)).join(" ");
  const start = performance.now();
  changes(before, other);
  assert.ok(performance.now() - start < 1500);
});
