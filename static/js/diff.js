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

/** Each word of both sides, marked: [{kind, text, before: index or null, after: index or null}]. */
export function pieces(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < before.length - start && end < after.length - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  const found = [];
  for (let i = 0; i < start; i += 1) found.push({ kind: "same", text: before[i], before: i, after: i });
  for (const [kind, i, j] of myers(before.slice(start, before.length - end), after.slice(start, after.length - end))) {
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

/** Myers (1986), greedy. Texts with more than FARTHEST differences share nothing worth showing: all out, all in. */
function myers(before, after) {
  const whole = () => [
    ...before.map((_, i) => ["removed", i, null]),
    ...after.map((_, j) => ["added", null, j]),
  ];
  if (before.length === 0 || after.length === 0) return whole();
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
  return whole();
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
  const count = { removed: 0, added: 0, same: 0 };
  for (const { kind, text } of pieces(words(before), words(after))) if (text.trim()) count[kind] += 1;
  return { removed: count.removed, added: count.added };
}
