// From raw points to what is drawn and said: envelopes, smoothing, marks, words. Pure.

// The drawn line of rows [start, end): at most `limit` points, in order, always the first and the last,
// and the least and the greatest of every bucket, so that a spike of one row is on the screen at every
// zoom. Buckets hold 2^k rows counted from row 0: they stay where they are while points arrive.
// Where nothing finite was logged, y is null: a gap.
export function envelope(x, y, start, end, limit) {
  const rows = end - start;
  const drawn = { x: [], y: [], bucket: 1 };
  if (rows <= 0) return drawn;
  while (rows > limit && 2 * (Math.floor((end - 1) / drawn.bucket) - Math.floor(start / drawn.bucket) + 1) + 2 > limit) {
    drawn.bucket *= 2;
  }
  const put = (row) => {
    drawn.x.push(x[row]);
    drawn.y.push(Number.isFinite(y[row]) ? y[row] : null);
  };
  if (drawn.bucket === 1) {
    for (let row = start; row < end; row += 1) put(row);
    return drawn;
  }
  put(start);
  for (let from = start + 1; from < end - 1; ) {
    const to = Math.min(end - 1, (Math.floor(from / drawn.bucket) + 1) * drawn.bucket);
    let least = -1;
    let most = -1;
    for (let row = from; row < to; row += 1) {
      if (!Number.isFinite(y[row])) continue;
      if (least < 0 || y[row] < y[least]) least = row;
      if (most < 0 || y[row] > y[most]) most = row;
    }
    if (least < 0) put(from);
    else {
      put(Math.min(least, most));
      if (least !== most) put(Math.max(least, most));
    }
    from = to;
  }
  if (rows > 1) put(end - 1);
  return drawn;
}

// The rows whose x lies in [low, high], and one beyond each end so that lines run out of the frame.
export function visibleRows(x, size, low, high, ordered) {
  if (!ordered) return [0, size];
  const first = lowerBound(x, size, low);
  const past = lowerBound(x, size, high, true);
  return [Math.max(0, first - 1), Math.min(size, past + 1)];
}

function lowerBound(x, size, limit, inclusive = false) {
  let from = 0;
  let to = size;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (x[middle] < limit || (inclusive && x[middle] === limit)) from = middle + 1;
    else to = middle;
  }
  return from;
}

// Rows [start, end) that are not numbers, thinned to one of a kind for each 1/200 of the rows.
export function notFinite(y, start, end) {
  const apart = Math.max(1, Math.floor((end - start) / 200));
  const marks = [];
  const latest = {};
  for (let row = start; row < end; row += 1) {
    if (Number.isFinite(y[row])) continue;
    const kind = Number.isNaN(y[row]) ? "NaN" : y[row] > 0 ? "+Inf" : "−Inf";
    if (row - (latest[kind] ?? -Infinity) < apart) continue;
    latest[kind] = row;
    marks.push({ row, kind });
  }
  return marks;
}

// An exponential moving average over the raw rows, without the pull towards zero of its first steps. It
// is kept and only continued as points arrive; rows that are not numbers leave a gap and change nothing.
export class Smoothed {
  value = new Float64Array(256);
  size = 0;
  #sum = 0;
  #weight = 0;

  constructor(memory) {
    this.memory = memory; // 0: none; 0.99: about the last hundred rows
  }

  extend(raw, size) {
    if (size > this.value.length) {
      const wider = new Float64Array(Math.max(size, this.value.length * 2));
      wider.set(this.value);
      this.value = wider;
    }
    for (let row = this.size; row < size; row += 1) {
      if (Number.isFinite(raw[row])) {
        this.#sum = this.memory * this.#sum + (1 - this.memory) * raw[row];
        this.#weight = this.memory * this.#weight + (1 - this.memory);
        this.value[row] = this.#sum / this.#weight;
      } else {
        this.value[row] = NaN;
      }
    }
    this.size = size;
    return this.value;
  }
}

// Significant digits, a true minus, thousands with commas: 0.3127, −41.2, 12,400, 1.25e−7.
export function say(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "−Inf";
  const size = Math.abs(value);
  let text;
  if (size === 0) text = "0";
  else if (size >= 1e7 || size < 1e-4) text = size.toExponential(2).replace("e+", "e").replace("e-", "e−");
  else if (size >= 1000) text = Math.round(size).toLocaleString("en");
  else if (Number.isInteger(size)) text = String(size);
  else text = String(Number(size.toPrecision(digits)));
  return (value < 0 ? "−" : "") + text;
}

export function sayCount(value) {
  return Math.round(value).toLocaleString("en");
}

// A span of time in at most two units: 800 ms, 4.2 s, 2:14, 1:02:09.
export function saySeconds(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  return sayClock(seconds);
}

export function sayClock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
}

// Where a series is going: the mean of its newest tenth against the tenth before (at least 5 rows each),
// called a move when it exceeds three standard errors of the difference. `better` is "up", "down" or
// "none". Null while there are too few rows to say.
export function trend(y, size, better) {
  const newest = size ? y[size - 1] : 0;
  if (size && !Number.isFinite(newest)) return { way: "broken", good: false, words: "not a number", change: NaN };
  const rows = Math.max(5, Math.floor(size / 10));
  if (size < 2 * rows) return null;
  const late = moments(y, size - rows, size);
  const early = moments(y, size - 2 * rows, size - rows);
  if (!late.count || !early.count) return null;
  const change = late.mean - early.mean;
  const error = Math.sqrt(late.variance / late.count + early.variance / early.count);
  if (Math.abs(change) <= 3 * error || change === 0) return { way: "flat", good: null, words: "steady", change };
  const way = change > 0 ? "up" : "down";
  const good = better === "none" ? null : way === better;
  return { way, good, words: (way === "up" ? "rising" : "falling") + (good === false ? " ⚠" : ""), change };
}

function moments(y, start, end) {
  let count = 0;
  let mean = 0;
  let squares = 0;
  for (let row = start; row < end; row += 1) {
    if (!Number.isFinite(y[row])) continue;
    count += 1;
    const gap = y[row] - mean;
    mean += gap / count;
    squares += gap * (y[row] - mean);
  }
  return { count, mean, variance: count > 1 ? squares / (count - 1) : 0 };
}

// The path of a sparkline in a box of the given size, by the same envelope as the charts.
export function sparkline(points, width, height) {
  const { x, y } = envelope(points.step, points.value, 0, points.size, width);
  const known = y.filter((value) => value !== null);
  if (!known.length) return "";
  const [left, right] = [x[0], x[x.length - 1]];
  const low = Math.min(...known);
  const high = Math.max(...known);
  const across = (value) => (right === left ? width : ((value - left) / (right - left)) * width);
  const down = (value) => (high === low ? height / 2 : height - ((value - low) / (high - low)) * height);
  let pen = "M";
  let path = "";
  y.forEach((value, i) => {
    if (value === null) {
      pen = "M";
      return;
    }
    path += `${pen}${across(x[i]).toFixed(1)} ${down(value).toFixed(1)}`;
    pen = "L";
  });
  return path;
}

// One run's points as CSV, as logged: nothing thinned, nothing smoothed.
export function csv(name, points) {
  const quoted = `"${name.replaceAll('"', '""')}"`;
  const lines = [`step,time,${quoted}`];
  for (let row = 0; row < points.size; row += 1) {
    lines.push(`${points.step[row]},${points.time[row]},${points.value[row]}`);
  }
  return `${lines.join("\n")}\n`;
}
