// Two texts that are scrolled together: what is the same stays side by side.
import assert from "node:assert/strict";
import { test } from "node:test";

import { across, together } from "../../static/js/linked_scroll.js";

test("equal blocks belong together, in their order, whatever stands between them", () => {
  assert.deepEqual(together(["a", "x", "b"], ["a", "y", "z", "b"]), [[0, 0], [2, 3]]);
});

test("without an equal block they go one by one if they are as many, and otherwise only the ends meet", () => {
  assert.deepEqual(together(["a", "b"], ["c", "d"]), [[0, 0], [1, 1]]);
  assert.deepEqual(together(["a"], ["c", "d"]), []);
});

test("a place between two anchors is carried over in proportion", () => {
  const anchors = [[0, 0], [100, 300], [200, 400]];
  assert.deepEqual([0, 50, 100, 150, 200, 900].map((place) => across(anchors, place)), [0, 150, 300, 350, 400, 400]);
});

test("the way across never goes back while one scrolls on", () => {
  const anchors = [[0, 0], [10, 50], [10, 60], [90, 70]];
  let last = -1;
  for (let place = 0; place <= 100; place += 1) {
    const there = across(anchors, place);
    assert.ok(there >= last, `${place}: ${there} after ${last}`);
    last = there;
  }
});
