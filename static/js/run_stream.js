// The live stream of runs: binary blocks come in, typed arrays grow, every point once and in order.
//
// The server numbers the rows a run logs 1, 2, 3 … within an epoch. A block says which rows it carries
// (`from` to `to`); a history takes the rows that follow the last it holds, drops what it has already,
// and refuses a hole: the stream then opens the run again after the last row held. Reload, reconnect and
// a laptop that slept are therefore the same code. Nothing here touches the page.

const HEADER_BYTES = 32;
const SILENCE = 15_000; // three heartbeats: then the socket is taken for dead, whatever it claims
const LONGEST_WAIT = 8_000;

// Cuts a stream of bytes into blocks; a torn tail waits for the next piece.
export class BlockReader {
  #tail = new Uint8Array(0);

  feed(buffer) {
    let bytes = new Uint8Array(buffer);
    if (this.#tail.length) {
      const joined = new Uint8Array(this.#tail.length + bytes.length);
      joined.set(this.#tail);
      joined.set(bytes, this.#tail.length);
      bytes = joined;
    }
    const found = [];
    let at = 0;
    while (bytes.length - at >= HEADER_BYTES) {
      const length = new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0, true);
      if (length < HEADER_BYTES || length % 8) {
        throw new Error(`A block of ${length} bytes: expected a multiple of 8, at least ${HEADER_BYTES}.`);
      }
      if (bytes.length - at < length) break;
      found.push(readBlock(bytes, at, length));
      at += length;
    }
    this.#tail = bytes.slice(at);
    return found;
  }
}

function readBlock(bytes, at, length) {
  // Columns are viewed in place where they are aligned; a block behind an odd tail is copied once.
  let start = bytes.byteOffset + at;
  let buffer = bytes.buffer;
  if (start % 8) {
    buffer = bytes.slice(at, at + length).buffer;
    start = 0;
  }
  const header = new DataView(buffer, start, HEADER_BYTES);
  const rows = header.getUint32(12, true);
  const width = header.getUint16(24, true);
  const ids = new Uint16Array(buffer, start + HEADER_BYTES, width);
  let column = start + HEADER_BYTES + Math.ceil((width * 2) / 8) * 8;
  const expected = column - start + (2 + width) * rows * 8;
  if (expected !== length) {
    throw new Error(`A block of ${rows} rows and ${width} series has ${length} bytes: expected ${expected}.`);
  }
  const take = () => {
    const values = new Float64Array(buffer, column, rows);
    column += rows * 8;
    return values;
  };
  const block = {
    run: header.getUint32(4, true),
    epoch: header.getUint32(8, true),
    rows,
    from: header.getUint32(16, true),
    to: header.getUint32(20, true),
    ids,
    step: take(),
    time: take(),
    columns: [],
  };
  for (let i = 0; i < width; i += 1) block.columns.push(take());
  if (rows !== block.to - block.from + 1) {
    throw new Error(`A block of ${rows} rows is numbered ${block.from} to ${block.to}.`);
  }
  return block;
}

// One metric's points in typed arrays that double as they fill. NaN and ±Inf are kept as they came.
export class Points {
  size = 0;
  ordered = true; // steps never went back: a window can be found by halving

  constructor(room = 256) {
    this.step = new Float64Array(room);
    this.time = new Float64Array(room);
    this.value = new Float64Array(room);
  }

  append(step, time, value) {
    const size = this.size + step.length;
    if (size > this.step.length) {
      const room = Math.max(size, this.step.length * 2);
      for (const name of ["step", "time", "value"]) {
        const wider = new Float64Array(room);
        wider.set(this[name].subarray(0, this.size));
        this[name] = wider;
      }
    }
    let previous = this.size ? this.step[this.size - 1] : -Infinity;
    for (const here of step) {
      if (here < previous) this.ordered = false;
      previous = here;
    }
    this.step.set(step, this.size);
    this.time.set(time, this.size);
    this.value.set(value, this.size);
    this.size = size;
  }
}

// All that is known of one run's numbers: complete through row `last` of `epoch`.
export class History {
  epoch = 0;
  last = 0;
  lastTime = 0;
  points = new Map(); // series id -> Points

  reset(epoch) {
    this.epoch = epoch;
    this.last = 0;
    this.lastTime = 0;
    this.points.clear();
  }

  // "new": taken; "old": all of it was here already; "hole": rows before it are missing.
  accept(block) {
    if (block.epoch < this.epoch) return "old";
    if (block.epoch > this.epoch) this.reset(block.epoch);
    if (block.to <= this.last) return "old";
    if (block.from > this.last + 1) return "hole";
    const skip = this.last + 1 - block.from;
    const step = block.step.subarray(skip);
    const time = block.time.subarray(skip);
    block.ids.forEach((id, i) => {
      if (!this.points.has(id)) this.points.set(id, new Points());
      this.points.get(id).append(step, time, block.columns[i].subarray(skip));
    });
    this.last = block.to;
    this.lastTime = block.time[block.rows - 1];
    return "new";
  }
}

// How long to wait before the n-th attempt: doubling, never long, never all pages at once.
export function backoff(attempt, random = Math.random()) {
  return Math.min(LONGEST_WAIT, 250 * 2 ** attempt) * (0.5 + random / 2);
}

// One socket a page for any number of runs. Dispatches what the server says under its own name ("run",
// "series", "heartbeat", "events", "samples", "error"), "points" when rows were taken, "reset" when a
// history began again, and "link" when the connection came or went.
export class RunStream extends EventTarget {
  histories = new Map(); // run id -> History
  link = "closed"; // closed, connecting, open
  #socket = null;
  #reader = new BlockReader();
  #attempt = 0;
  #timers = { retry: null, silence: null };
  #asked = new Map(); // run id -> the `last` a hole was reported at: asked for once, not once a block
  #stalled = new Map(); // run id -> the `last` at the previous heartbeat that knew of more
  #lead = null; // how far the server's clock is ahead of ours, in seconds
  #stopped = false;

  constructor(url, { connect = (address) => new WebSocket(address), now = () => Date.now() / 1000 } = {}) {
    super();
    this.url = url;
    this.connect = connect;
    this.now = now;
  }

  watch(run) {
    const history = new History();
    this.histories.set(run, history);
    if (this.link === "open") this.#open(run);
    else if (this.link === "closed") this.#dial();
    return history;
  }

  // The network is back, or the page is seen again: do not sit out the wait.
  hurry() {
    if (this.link !== "closed" || this.#stopped) return;
    this.#attempt = 0;
    this.#dial();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timers.retry);
    clearTimeout(this.#timers.silence);
    this.#socket?.close();
  }

  // Seconds between a row being logged and now, by the server's clock.
  behind(time) {
    return this.#lead === null ? null : Math.max(0, this.now() + this.#lead - time);
  }

  serverNow() {
    return this.now() + (this.#lead ?? 0);
  }

  #dial() {
    clearTimeout(this.#timers.retry);
    this.#setLink("connecting");
    this.#reader = new BlockReader();
    const socket = this.connect(this.url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => {
      this.#setLink("open");
      this.#listen();
      for (const run of this.histories.keys()) this.#open(run);
    };
    socket.onmessage = ({ data }) => {
      this.#attempt = 0;
      this.#listen();
      if (typeof data === "string") this.#hear(JSON.parse(data));
      else this.#read(data);
    };
    socket.onclose = () => {
      if (socket === this.#socket) this.#retry();
    };
  }

  #retry() {
    this.#socket = null;
    clearTimeout(this.#timers.silence);
    if (this.#stopped) return;
    const wait = backoff(this.#attempt);
    this.#attempt += 1;
    this.#timers.retry = setTimeout(() => this.#dial(), wait);
    this.#setLink("closed", wait);
  }

  // A socket that died without a word (a laptop that slept, a proxy that forgot) is given up here.
  #listen() {
    clearTimeout(this.#timers.silence);
    this.#timers.silence = setTimeout(() => {
      const socket = this.#socket;
      this.#retry();
      socket?.close();
    }, SILENCE);
  }

  #setLink(link, wait = 0) {
    this.link = link;
    this.#tell("link", { link, wait });
  }

  #open(run) {
    const history = this.histories.get(run);
    this.#asked.delete(run);
    this.#stalled.delete(run);
    this.#socket.send(JSON.stringify({ op: "open", run, epoch: history.epoch, after: history.last }));
  }

  #hear(message) {
    if (typeof message.now === "number") {
      // The largest lead seen is the one that spent least time on the way.
      const lead = message.now - this.now();
      this.#lead = this.#lead === null ? lead : Math.max(lead, this.#lead);
    }
    const history = this.histories.get(message.run);
    if (message.type === "reset" && history) history.reset(message.epoch);
    if (message.type === "heartbeat" && history) this.#heal(message, history);
    this.#tell(message.type, message);
  }

  // Two heartbeats in a row know of rows that do not come: ask again.
  #heal({ run, last_seq: known }, history) {
    if (known <= history.last) this.#stalled.delete(run);
    else if (this.#stalled.get(run) === history.last) this.#open(run);
    else this.#stalled.set(run, history.last);
  }

  #read(buffer) {
    const rows = new Map();
    for (const block of this.#reader.feed(buffer)) {
      const history = this.histories.get(block.run);
      if (!history) continue;
      const epoch = history.epoch;
      const verdict = history.accept(block);
      if (history.epoch !== epoch) this.#tell("reset", { type: "reset", run: block.run, epoch: history.epoch });
      if (verdict === "hole" && this.#asked.get(block.run) !== history.last) {
        this.#open(block.run);
        this.#asked.set(block.run, history.last);
      }
      if (verdict === "new") rows.set(block.run, (rows.get(block.run) ?? 0) + block.rows);
    }
    for (const [run, count] of rows) {
      const { lastTime, last } = this.histories.get(run);
      this.#tell("points", { run, rows: count, last, behind: this.behind(lastTime) });
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
