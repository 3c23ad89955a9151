// What changed between two texts, by words. Pure: texts in, parts out.

const WORDS = /\s+|[\p{L}\p{N}\p{M}_'’]+|[^\s\p{L}\p{N}\p{M}_'’]/gu;
const FARTHEST = 1000;

export function words(text) {
  return text.match(WORDS) ?? [];
}

/** [{kind: "same" | "removed" | "added", text}], which reads as `after` without the removed, `before` without the added. */
export function diff(before, after) {
  return join(pieces(words(before), words(after)));
}

/** The parts, and how many words (not spaces) were taken out and put in, in one pass. */
export function changes(before, after) {
  const found = pieces(words(before), words(after));
  return { parts: join(found), ...counted(found) };
}

/** Each word of both sides, marked: [{kind, text, before: index or null, after: index or null}]. */
export function pieces(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < before.length - start && end < after.length - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  const found = [];
  for (let i = 0; i < start; i += 1) found.push({ kind: "same", text: before[i], before: i, after: i });
  const middle = [before.slice(start, before.length - end), after.slice(start, after.length - end)];
  for (const [kind, i, j] of myers(...middle) ?? byLines(...middle)) {
    found.push({
      kind,
      text: kind === "added" ? after[start + j] : before[start + i],
      before: kind === "added" ? null : start + i,
      after: kind === "removed" ? null : start + j,
    });
  }
  for (let i = end; i > 0; i -= 1) {
    found.push({ kind: "same", text: before.at(-i), before: before.length - i, after: after.length - i });
  }
  return found;
}

const whole = (before, after) => [
  ...before.map((_, i) => ["removed", i, null]),
  ...after.map((_, j) => ["added", null, j]),
];

/** Texts that are far apart: first which lines are the same, then the words within each changed stretch. */
function byLines(before, after) {
  const [a, b] = [lines(before), lines(after)];
  const path = [];
  let stretch = { before: [], after: [] };
  const close = () => {
    const { before: from, after: to } = stretch;
    const [old, young] = [from.map((i) => before[i]), to.map((j) => after[j])];
    for (const [kind, i, j] of myers(old, young) ?? whole(old, young)) {
      path.push([kind, i === null ? null : from[i], j === null ? null : to[j]]);
    }
    stretch = { before: [], after: [] };
  };
  for (const [kind, i, j] of myers(a.map(({ text }) => text), b.map(({ text }) => text)) ?? whole(a, b)) {
    if (kind === "same") {
      close();
      a[i].places.forEach((place, k) => path.push(["same", place, b[j].places[k]]));
    } else if (kind === "removed") stretch.before.push(...a[i].places);
    else stretch.after.push(...b[j].places);
  }
  close();
  return path;
}

/** Words as lines: [{text, places}], each with the indices of its words. */
function lines(some) {
  const found = [];
  let line = { text: "", places: [] };
  for (const [place, word] of some.entries()) {
    line.text += `${word}\u0000`;
    line.places.push(place);
    if (!word.includes("\n")) continue;
    found.push(line);
    line = { text: "", places: [] };
  }
  return line.places.length > 0 ? [...found, line] : found;
}

/** Myers (1986), greedy; null for texts with more than FARTHEST differences. */
function myers(before, after) {
  if (before.length === 0 || after.length === 0) return whole(before, after);
  const limit = Math.min(before.length + after.length, FARTHEST);
  const reach = new Int32Array(2 * limit + 3);
  const middle = limit + 1;
  const history = [];
  for (let d = 0; d <= limit; d += 1) {
    history.push(reach.slice(middle - d - 1, middle + d + 2));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && reach[middle + k - 1] < reach[middle + k + 1]);
      let x = down ? reach[middle + k + 1] : reach[middle + k - 1] + 1;
      let y = x - k;
      while (x < before.length && y < after.length && before[x] === after[y]) {
        x += 1;
        y += 1;
      }
      reach[middle + k] = x;
      if (x >= before.length && y >= after.length) return walkBack(history, before.length, after.length);
    }
  }
  return null;
}

function walkBack(history, x, y) {
  const path = [];
  for (let d = history.length - 1; d >= 0; d -= 1) {
    const reach = (k) => history[d][k + d + 1];
    const k = x - y;
    const down = k === -d || (k !== d && reach(k - 1) < reach(k + 1));
    const from = d === 0 ? 0 : down ? k + 1 : k - 1;
    const fromX = d === 0 ? 0 : reach(from);
    const fromY = fromX - from;
    while (x > Math.max(fromX, 0) && y > Math.max(fromY, 0)) {
      x -= 1;
      y -= 1;
      path.push(["same", x, y]);
    }
    if (d === 0) break;
    if (down) {
      y -= 1;
      path.push(["added", null, y]);
    } else {
      x -= 1;
      path.push(["removed", x, null]);
    }
  }
  return path.reverse();
}

/** Neighbours of one kind as one part; of a changed stretch first what went, then what came. */
function join(found) {
  const parts = [];
  let removed = "";
  let added = "";
  const close = () => {
    if (removed) parts.push({ kind: "removed", text: removed });
    if (added) parts.push({ kind: "added", text: added });
    removed = "";
    added = "";
  };
  for (const { kind, text } of found) {
    if (kind === "removed") removed += text;
    else if (kind === "added") added += text;
    else {
      close();
      if (parts.at(-1)?.kind === "same") parts.at(-1).text += text;
      else parts.push({ kind: "same", text });
    }
  }
  close();
  return parts;
}

/** How many words (not spaces) were taken out and put in. */
export function distance(before, after) {
  return counted(pieces(words(before), words(after)));
}

function counted(found) {
  const count = { removed: 0, added: 0, same: 0 };
  for (const { kind, text } of found) if (text.trim()) count[kind] += 1;
  return { removed: count.removed, added: count.added };
}
