// Curves whose horizontal axis is no step: the frontier of a run, and what a report plots. Pure.

import { say, sayCount } from "./run_lines.js";

export const SCORE = "objective/scores";
export const GOLD = "objective/gold";
export const KL = "objective/kl";

// One row a step at which both were logged: { step, kl, root, score, gold }. `series` maps a name to its points
// ({ step, value, size }); gold is null where there is none. √KL of a KL below zero (it is a mean over samples) is 0.
export function frontier(series) {
  const [scores, kls, golds] = [SCORE, KL, GOLD].map((name) => byStep(series.get(name)));
  const rows = [];
  for (const [step, kl] of kls) {
    const score = scores.get(step);
    if (!Number.isFinite(kl) || !Number.isFinite(score)) continue;
    const gold = golds.get(step);
    rows.push({ step, kl, root: Math.sqrt(Math.max(kl, 0)), score, gold: Number.isFinite(gold) ? gold : null });
  }
  return rows.sort((one, other) => one.step - other.step);
}

function byStep(points) {
  const found = new Map();
  for (let row = 0; row < (points?.size ?? 0); row += 1) found.set(points.step[row], points.value[row]);
  return found;
}

// The rows in at most `count` stretches of steps, each as its means: a batch says little, its neighbours more. The
// way it went, in order, so that a policy that turns back is seen to turn.
export function stretches(rows, count) {
  const found = [];
  const groups = Math.min(count, rows.length);
  for (let group = 0; group < groups; group += 1) {
    const part = rows.slice(Math.round((group * rows.length) / groups), Math.round(((group + 1) * rows.length) / groups));
    const mean = (name) => part.reduce((sum, row) => sum + row[name], 0) / part.length;
    const kl = mean("kl");
    found.push({
      step: part.at(-1).step,
      kl,
      root: Math.sqrt(Math.max(kl, 0)),
      score: mean("score"),
      gold: part.every(({ gold }) => gold !== null) ? mean("gold") : null,
    });
  }
  return found;
}

// At most `most` of the rows, evenly spread, the newest always among them.
export function thinned(rows, most) {
  if (rows.length <= most) return rows;
  const stride = Math.ceil(rows.length / most);
  return rows.filter((_, i) => (rows.length - 1 - i) % stride === 0);
}

// What the frontier shows, in a sentence for those who do not see it.
export function sayFrontier(rows) {
  if (!rows.length) return "Nothing has been logged yet.";
  const [first, last] = [rows[0], rows.at(-1)];
  const way = (name) => `from ${say(first[name], 3)} to ${say(last[name], 3)}`;
  const gold = last.gold === null || first.gold === null ? "" : `, gold score ${way("gold")}`;
  return `Between step ${sayCount(first.step)} and ${sayCount(last.step)} the KL to the reference went ${way("kl")} nat, the score ${way("score")}${gold}.`;
}

export function frontierCsv(rows) {
  return ["step,kl,sqrt_kl,score,gold", ...rows.map(({ step, kl, root, score, gold }) => `${step},${kl},${root},${score},${gold ?? ""}`), ""].join("\n");
}

// A report's curves as Plotly traces. `ink(i)` is the colour of line i; an interval is a bar at each point. Points
// that do not come from left to right, or are many, are a cloud: no line goes through them.
export function tracesOf(curves, ink) {
  const cloud = (x) => x.length > 60 || x.some((value, i) => i > 0 && value < x[i - 1]);
  return curves.map(({ label, x, y, low, high, fit, n }, i) => ({
    type: "scatter",
    mode: fit ? "lines" : cloud(x) ? "markers" : "lines+markers",
    name: label,
    x,
    y,
    ...(low && high
      ? {
          error_y: {
            type: "data",
            symmetric: false,
            array: high.map((top, row) => top - y[row]),
            arrayminus: low.map((bottom, row) => y[row] - bottom),
            color: ink(i),
            thickness: 1,
            width: 3,
          },
        }
      : {}),
    line: { color: ink(i), width: 1.6, dash: fit ? "dash" : "solid" },
    marker: { color: ink(i), size: n ? n.map((count) => 4 + Math.min(8, Math.sqrt(count) / 2)) : cloud(x) ? 4 : 6 },
    hoverinfo: "skip",
  }));
}
