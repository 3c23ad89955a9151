// Push to talk, with a recognition that behaves as browsers' do: it ends by itself, and late.
import assert from "node:assert/strict";
import { test } from "node:test";

import { listener } from "../../static/js/robot_ear.js";

class Recognition {
  static all = [];
  asked = 0;
  start() {
    Recognition.all.push(this);
  }
  stop() {
    this.asked += 1;
  }
  hear(...transcripts) {
    this.onresult({ results: transcripts.map((transcript) => [{ transcript }]) });
  }
}

function ear() {
  Recognition.all = [];
  globalThis.webkitSpeechRecognition = Recognition;
  const told = [];
  const tell = (name) => (what) => told.push(what === undefined ? name : `${name}: ${what}`);
  const made = listener({ heard: tell("heard"), failed: tell("failed"), began: tell("began"), ended: tell("ended") });
  delete globalThis.webkitSpeechRecognition;
  return { ...made, told, now: () => Recognition.all.at(-1) };
}

test("where the browser cannot listen there is nothing to hold", () => {
  assert.equal(listener({}), null);
});

test("what is heard while the button is held is told as it grows, and the end when it has come", () => {
  const { hold, release, told, now } = ear();
  hold();
  hold(); // a key that repeats
  now().hear("move");
  now().hear("move a bit", " to the left");
  release();
  assert.equal(now().asked, 1);
  assert.deepEqual(told, ["began", "heard: move", "heard: move a bit to the left"]);
  now().onend();
  assert.equal(told.at(-1), "ended");
  assert.equal(Recognition.all.length, 1);
});

test("a recognition that ends while the button is held is followed by another, which goes on from there", () => {
  const { hold, release, told, now } = ear();
  hold();
  now().hear("move a bit");
  now().onend();
  assert.equal(Recognition.all.length, 2);
  now().hear("to the left");
  assert.equal(told.at(-1), "heard: move a bit to the left");
  release();
  now().onend();
  assert.equal(told.filter((one) => one === "ended").length, 1);
});

test("a button that is held again before the end has come listens once more, and not twice at once", () => {
  const { hold, release, told, now } = ear();
  hold();
  release();
  hold();
  assert.equal(Recognition.all.length, 1);
  now().onend();
  assert.equal(Recognition.all.length, 2);
  now().hear("open");
  assert.equal(told.at(-1), "heard: open");
});

test("an error is told once and nothing is tried again; to be stopped is none", () => {
  const { hold, told, now } = ear();
  hold();
  now().onerror({ error: "not-allowed" });
  now().onend();
  assert.deepEqual(told, ["began", "failed: not-allowed", "ended"]);
  assert.equal(Recognition.all.length, 1);
  hold();
  now().hear("open");
  assert.equal(told.at(-1), "heard: open", "what was heard before does not come again");
  now().onerror({ error: "aborted" });
  assert.equal(told.at(-1), "heard: open");
});
