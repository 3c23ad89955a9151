// The protocol of the live stream: what a page holds is what the run logged, each row once, in order.
import assert from "node:assert/strict";
import { test } from "node:test";

import { BlockReader, History, Points, RunStream, backoff } from "../../static/js/run_stream.js";

// The wire format, written here by hand so that the reader is held to the format and not to itself.
function block({ run = 7, epoch = 0, from, rows, ids = [0], value = (seq) => seq, length = null }) {
  const idBytes = Math.ceil((ids.length * 2) / 8) * 8;
  const size = 32 + idBytes + (2 + ids.length) * rows * 8;
  const view = new DataView(new ArrayBuffer(size));
  [length ?? size, run, epoch, rows, from, from + rows - 1].forEach((word, i) => view.setUint32(i * 4, word, true));
  view.setUint16(24, ids.length, true);
  ids.forEach((id, i) => view.setUint16(32 + i * 2, id, true));
  let at = 32 + idBytes;
  const put = (number) => {
    view.setFloat64(at, number, true);
    at += 8;
  };
  for (let row = 0; row < rows; row += 1) put((from + row) * 10); // step
  for (let row = 0; row < rows; row += 1) put(1_000 + from + row); // time
  for (const id of ids) for (let row = 0; row < rows; row += 1) put(value(from + row, id));
  return view.buffer;
}

function join(...buffers) {
  const bytes = new Uint8Array(buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0));
  let at = 0;
  for (const buffer of buffers) {
    bytes.set(new Uint8Array(buffer), at);
    at += buffer.byteLength;
  }
  return bytes.buffer;
}

const values = (history, id = 0) => [...history.points.get(id).value.subarray(0, history.points.get(id).size)];
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

// A socket whose other end is the test.
class FakeSocket {
  sent = [];
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.onclose?.();
  }
  say(message) {
    this.onmessage({ data: typeof message === "object" && !(message instanceof ArrayBuffer) ? JSON.stringify(message) : message });
  }
}

function dialled() {
  const sockets = [];
  const connect = () => {
    sockets.push(new FakeSocket());
    return sockets.at(-1);
  };
  const stream = new RunStream("/ws/", { connect, now: () => 500 });
  return { stream, sockets };
}

test("a frame of several blocks is read column by column", () => {
  const [first, second] = new BlockReader().feed(
    join(
      block({ from: 1, rows: 3, ids: [0, 4, 9], value: (seq, id) => seq * 100 + id }),
      block({ from: 4, rows: 2, ids: [4] }),
    ),
  );
  assert.deepEqual([first.run, first.epoch, first.from, first.to, first.rows], [7, 0, 1, 3, 3]);
  assert.deepEqual([...first.ids], [0, 4, 9]);
  assert.deepEqual([...first.step], [10, 20, 30]);
  assert.deepEqual([...first.time], [1001, 1002, 1003]);
  assert.deepEqual([...first.columns[2]], [109, 209, 309]);
  assert.deepEqual([...second.columns[0]], [4, 5]);
});

test("blocks torn at any byte are put together again", () => {
  const whole = new Uint8Array(join(block({ from: 1, rows: 2, ids: [0, 1, 2, 3, 4] }), block({ from: 3, rows: 1 })));
  for (let cut = 0; cut <= whole.length; cut += 1) {
    const reader = new BlockReader();
    const found = [...reader.feed(whole.slice(0, cut).buffer), ...reader.feed(whole.slice(cut).buffer)];
    assert.deepEqual(found.map(({ from, to }) => [from, to]), [[1, 2], [3, 3]], `cut at byte ${cut}`);
    assert.deepEqual([...found[0].columns[4]], [1, 2]);
    assert.deepEqual([...found[1].columns[0]], [3]);
  }
});

test("bytes that are not a block are refused aloud", () => {
  assert.throws(() => new BlockReader().feed(block({ from: 1, rows: 1, length: 33 })), /block of 33 bytes/);
  const longer = join(block({ from: 1, rows: 1, length: 64 }), new ArrayBuffer(64));
  new DataView(longer).setUint32(12, 2, true);
  assert.throws(() => new BlockReader().feed(longer), /block of 2 rows and 1 series has 64 bytes: expected 88/);
});

test("rows that come twice are held once, also when a block overlaps by half", () => {
  const history = new History();
  const reader = new BlockReader();
  const accept = (options) => history.accept(reader.feed(block(options))[0]);
  assert.equal(accept({ from: 1, rows: 4 }), "new");
  assert.equal(accept({ from: 1, rows: 4 }), "old");
  assert.equal(accept({ from: 2, rows: 2 }), "old");
  assert.equal(accept({ from: 3, rows: 5 }), "new");
  assert.equal(history.last, 7);
  assert.deepEqual(values(history), range(1, 7));
  assert.equal(history.lastTime, 1007);
});

test("a hole takes nothing", () => {
  const history = new History();
  const [first, third] = [block({ from: 1, rows: 2 }), block({ from: 5, rows: 2 })].map((bytes) => new BlockReader().feed(bytes)[0]);
  history.accept(first);
  assert.equal(history.accept(third), "hole");
  assert.equal(history.last, 2);
  assert.deepEqual(values(history), [1, 2]);
});

test("a new epoch begins the history again, and an old epoch's rows are dropped", () => {
  const history = new History();
  const read = (options) => new BlockReader().feed(block(options))[0];
  history.accept(read({ from: 1, rows: 5 }));
  assert.equal(history.accept(read({ epoch: 1, from: 1, rows: 2, value: (seq) => -seq })), "new");
  assert.equal(history.accept(read({ epoch: 0, from: 6, rows: 2 })), "old");
  assert.equal(history.epoch, 1);
  assert.deepEqual(values(history), [-1, -2]);
});

test("a new epoch that starts in the middle is a hole, not a history", () => {
  const history = new History();
  assert.equal(history.accept(new BlockReader().feed(block({ epoch: 2, from: 9, rows: 1 }))[0]), "hole");
  assert.equal(history.last, 0);
  assert.equal(history.points.size, 0);
});

test("NaN and the infinities arrive as they were logged", () => {
  const logged = [0.5, NaN, Infinity, -Infinity, -0];
  const history = new History();
  history.accept(new BlockReader().feed(block({ from: 1, rows: 5, value: (seq) => logged[seq - 1] }))[0]);
  assert.ok(values(history).every((value, i) => Object.is(value, logged[i])));
});

test("a series that begins late or pauses has its own rows only", () => {
  const history = new History();
  for (const options of [{ from: 1, rows: 2, ids: [0] }, { from: 3, rows: 1, ids: [0, 1] }, { from: 4, rows: 1, ids: [1] }]) {
    history.accept(new BlockReader().feed(block(options))[0]);
  }
  assert.deepEqual(values(history, 0), [1, 2, 3]);
  assert.deepEqual(values(history, 1), [3, 4]);
  assert.deepEqual([...history.points.get(1).step.subarray(0, 2)], [30, 40]);
});

test("points grow without losing any, and notice steps that go back", () => {
  const points = new Points(2);
  for (let i = 0; i < 100; i += 1) points.append(Float64Array.of(i), Float64Array.of(i), Float64Array.of(i * i));
  assert.equal(points.size, 100);
  assert.deepEqual([...points.value.subarray(0, 100)], range(0, 99).map((i) => i * i));
  assert.equal(points.ordered, true);
  points.append(Float64Array.of(50), Float64Array.of(100), Float64Array.of(1));
  assert.equal(points.ordered, false);
});

test("a page opens its run after the last row it holds, and a hole is asked for once", () => {
  const { stream, sockets } = dialled();
  const history = stream.watch(7);
  const [socket] = sockets;
  socket.onopen();
  assert.deepEqual(socket.sent, [{ op: "open", run: 7, epoch: 0, after: 0 }]);
  socket.say(block({ from: 1, rows: 3 }));
  socket.say(block({ from: 6, rows: 1 }));
  socket.say(block({ from: 7, rows: 1 }));
  assert.deepEqual(socket.sent.slice(1), [{ op: "open", run: 7, epoch: 0, after: 3 }]);
  socket.say(block({ from: 4, rows: 4 }));
  assert.deepEqual(values(history), range(1, 7));
  socket.say(block({ from: 10, rows: 1 }));
  assert.deepEqual(socket.sent.at(-1), { op: "open", run: 7, epoch: 0, after: 7 });
  stream.stop();
});

test("a cut socket is dialled again and goes on where it stopped, without a row lost or doubled", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { stream, sockets } = dialled();
  const links = [];
  stream.addEventListener("link", ({ detail }) => links.push(detail.link));
  const history = stream.watch(7);
  sockets[0].onopen();
  sockets[0].say(block({ from: 1, rows: 5 }));
  const torn = block({ from: 6, rows: 5 });
  sockets[0].say(torn.slice(0, 40)); // half a frame, then the cable
  sockets[0].close();
  context.mock.timers.tick(300);
  sockets[1].onopen();
  assert.deepEqual(sockets[1].sent, [{ op: "open", run: 7, epoch: 0, after: 5 }]);
  sockets[1].say(block({ from: 4, rows: 7 }));
  assert.deepEqual(values(history), range(1, 10));
  assert.deepEqual(links, ["connecting", "open", "closed", "connecting", "open"]);
  stream.stop();
});

test("a socket that falls silent is given up and dialled again", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { stream, sockets } = dialled();
  stream.watch(7);
  sockets[0].onopen();
  context.mock.timers.tick(14_000);
  sockets[0].say({ type: "heartbeat", run: 7, last_seq: 0, now: 500 });
  context.mock.timers.tick(14_000);
  assert.equal(sockets.length, 1);
  context.mock.timers.tick(1_000);
  assert.equal(stream.link, "closed");
  context.mock.timers.tick(300);
  assert.equal(sockets.length, 2);
  stream.stop();
});

test("two heartbeats that know of rows which do not come make the page ask again", () => {
  const { stream, sockets } = dialled();
  stream.watch(7);
  sockets[0].onopen();
  const beat = () => sockets[0].say({ type: "heartbeat", run: 7, last_seq: 4, now: 500 });
  beat();
  assert.equal(sockets[0].sent.length, 1);
  beat();
  assert.deepEqual(sockets[0].sent.at(-1), { op: "open", run: 7, epoch: 0, after: 0 });
  sockets[0].say(block({ from: 1, rows: 4 }));
  beat();
  beat();
  assert.equal(sockets[0].sent.length, 2);
  stream.stop();
});

test("a reset empties the history and says so", () => {
  const { stream, sockets } = dialled();
  const history = stream.watch(7);
  const heard = [];
  stream.addEventListener("reset", ({ detail }) => heard.push(detail.epoch));
  sockets[0].onopen();
  sockets[0].say(block({ from: 1, rows: 5 }));
  sockets[0].say({ type: "reset", run: 7, epoch: 3 });
  assert.equal(history.points.size, 0);
  assert.deepEqual([history.epoch, history.last], [3, 0]);
  sockets[0].say(block({ epoch: 3, from: 1, rows: 1 }));
  sockets[0].say(block({ epoch: 4, from: 1, rows: 2 }));
  assert.deepEqual(heard, [3, 4]);
  assert.deepEqual(values(history), [1, 2]);
  stream.stop();
});

test("the delay is told by the server's clock, not by this computer's", () => {
  const { stream, sockets } = dialled(); // our clock says 500
  const delays = [];
  stream.addEventListener("points", ({ detail }) => delays.push(detail.behind));
  stream.watch(7);
  sockets[0].onopen();
  sockets[0].say(block({ from: 1, rows: 1 }));
  sockets[0].say({ type: "run", run: 7, now: 1002.25 });
  sockets[0].say(block({ from: 2, rows: 1 })); // logged at 1002
  assert.deepEqual(delays, [null, 0.25]);
  stream.stop();
});

test("waits double up to a limit and are never the same for every page", () => {
  assert.deepEqual([0, 1, 2, 9].map((attempt) => backoff(attempt, 1)), [250, 500, 1000, 8000]);
  assert.equal(backoff(3, 0), 1000);
});
