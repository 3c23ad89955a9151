// The socket of a live session: nothing that must last is lost or sent twice, and nothing of the moment comes late.
import assert from "node:assert/strict";
import { test } from "node:test";

import { RobotSocket } from "../../static/js/robot_socket.js";

class Wire {
  sent = [];
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {}
  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
}

function shelf() {
  const kept = new Map();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: (key) => kept.delete(key) };
}

function robot({ store = shelf(), now = () => 0, start = 0 } = {}) {
  const wires = [];
  let count = start;
  const socket = new RobotSocket("/ws/robots/1/", {
    connect: () => {
      wires.push(new Wire());
      return wires.at(-1);
    },
    store,
    now,
    ref: () => `ref-${(count += 1)}`,
  });
  const heard = [];
  for (const name of ["dropped", "link", "state", "refused"]) socket.addEventListener(name, ({ detail }) => heard.push([name, detail]));
  return { socket, wires, heard, store };
}
const HELLO = { type: "hello", session: { status: "running" } };
const refs = (wire) => wire.sent.map(({ ref }) => ref);

test("a message is sent once the server has said hello, and again after a break until it is acknowledged", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { socket, wires } = robot();
  socket.open();
  const ref = socket.send("say", { text: "left" });
  assert.deepEqual(wires[0].sent, [], "the server has not let us in yet");
  wires[0].say(HELLO);
  assert.deepEqual(wires[0].sent, [{ type: "say", ref, text: "left" }]);
  wires[0].onclose({});
  t.mock.timers.tick(500);
  wires[1].say(HELLO);
  assert.deepEqual(refs(wires[1]), [ref]);
  assert.equal(socket.waiting, 1);
  wires[1].say({ type: "correction", ref, status: "waiting" });
  assert.equal(socket.waiting, 0);
  wires[1].onclose({});
  t.mock.timers.tick(1000);
  wires[2].say(HELLO);
  assert.deepEqual(wires[2].sent, []);
  socket.stop();
});

test("what was not acknowledged survives the page, in order, and is not sent a day later", () => {
  const store = shelf();
  const first = robot({ store });
  first.socket.open();
  first.socket.send("say", { text: "left" });
  first.socket.send("mark", { success: true });
  const again = robot({ store, now: () => 60_000, start: 9 });
  again.socket.open();
  again.wires[0].say(HELLO);
  assert.deepEqual(again.wires[0].sent.map(({ type }) => type), ["say", "mark"]);
  assert.deepEqual(refs(again.wires[0]), ["ref-1", "ref-2"]);
  const late = robot({ store, now: () => 86_400_000 });
  late.socket.open();
  late.wires[0].say(HELLO);
  assert.deepEqual(late.wires[0].sent, []);
  for (const { socket } of [first, again, late]) socket.stop();
});

test("a key that was pressed when the connection broke is not pressed again when it is back", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { socket, wires, heard } = robot();
  socket.open();
  wires[0].say(HELLO);
  const ref = socket.send("motion", { key: "left", down: true }, { momentary: true });
  wires[0].onclose({});
  assert.deepEqual(heard.filter(([name]) => name === "dropped").map(([, message]) => message.ref), [ref]);
  socket.send("motion", { key: "up", down: true }, { momentary: true });
  assert.equal(heard.filter(([name]) => name === "dropped").length, 2, "nor one that is pressed while it is gone");
  t.mock.timers.tick(500);
  wires[1].say(HELLO);
  assert.deepEqual(wires[1].sent, []);
  socket.stop();
});

test("a key that is held is of this page: one that is loaded again does not press it", () => {
  const store = shelf();
  const first = robot({ store });
  first.socket.open();
  first.wires[0].say(HELLO);
  first.socket.send("motion", { key: "left", down: true }, { momentary: true });
  first.socket.send("motion", { key: "left", down: false });
  const again = robot({ store, start: 9 });
  again.socket.open();
  again.wires[0].say(HELLO);
  assert.deepEqual(again.wires[0].sent.map(({ down }) => down), [false], "but that it was let go of is told");
  for (const { socket } of [first, again]) socket.stop();
});

test("an action that is driven is sent or it is not; it never waits", () => {
  const { socket, wires } = robot();
  socket.open();
  assert.equal(socket.tell("drive", { action: [1, 0, 0] }), false);
  wires[0].say(HELLO);
  assert.equal(socket.tell("drive", { action: [0, 1, 0] }), true);
  assert.deepEqual(wires[0].sent, [{ type: "drive", action: [0, 1, 0] }]);
  assert.equal(socket.waiting, 0);
  socket.stop();
});

test("a running robot that falls silent is taken for gone; a paused one may be silent", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { socket, wires, heard } = robot();
  socket.open();
  wires[0].say(HELLO);
  wires[0].say({ type: "status", status: "paused" });
  t.mock.timers.tick(20_000);
  assert.equal(wires.length, 1);
  wires[0].say({ type: "status", status: "running" });
  t.mock.timers.tick(15_000);
  assert.equal(heard.at(-1)[1].link, "closed");
  t.mock.timers.tick(500);
  assert.equal(wires.length, 2);
  socket.stop();
});

test("a server that will not have us is not asked again", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { socket, wires, heard } = robot();
  socket.open();
  wires[0].onclose({ code: 4404, reason: "" });
  t.mock.timers.tick(60_000);
  assert.equal(wires.length, 1);
  assert.equal(heard.at(-1)[0], "refused");
  socket.stop();
});
