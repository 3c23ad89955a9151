// What was said of a recording, as the form's field has it: corrections in steps of the episode. Drawn as a list, and
// along the timeline. No request is made here.

import { lay } from "../clip_clock.js";

export function make(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Corrections by their steps: what begins first stands first. */
export function ordered(corrections) {
  return [...corrections].sort((a, b) => a.start - b.start || a.stop - b.stop);
}

/** Of each correction: the steps it is trained on, and those before that are only looked back on. */
export function windows(corrections, { decision, context, first, stop }) {
  return corrections.map((one) => ({
    rejected: one.type === "rejected",
    trained: one.type === "rejected" ? [one.start, one.stop] : [one.start, Math.min(one.stop, one.start + decision, stop)],
    context: one.type === "rejected" ? [one.start, one.start] : [Math.max(first, one.start - context), one.start],
  }));
}

/** A line of the list: where, what, and what can be done with it. */
export function line(one, at, { start, seconds, words }) {
  const item = make("li", `said-line${one.type === "rejected" ? " rejected" : ""}${one.live ? " live" : ""}`);
  item.dataset.said = at;
  const show = make("button", "said-show");
  show.type = "button";
  show.dataset.show = "";
  const when = `${((one.start - start) * seconds).toFixed(1)}–${((one.stop - start) * seconds).toFixed(1)} s`;
  show.append(make("span", "number hint", when));
  const said = make("bdi", "", one.type === "rejected" && !one.command ? "rejected" : one.command);
  show.append(said);
  if (one.layer === "motion") show.append(make("span", "badge", "motion"));
  if (one.live) show.append(make("span", "badge accent", "live"));
  const before = one.type === "rejected" ? "was" : "instead of";
  if (one.predicted && one.predicted !== one.command) show.append(make("span", "hint said-instead", `${before} “${one.predicted}”`));
  show.setAttribute("aria-label", `${words(one)}, ${when}`);
  const parts = [show];
  if (!one.live && one.type === "correction") parts.push(button("Change", "change", `Change: ${words(one)}`));
  parts.push(button("✕", "remove", `Remove: ${words(one)}`));
  item.append(...parts);
  return item;
}

function button(text, work, label) {
  const made = make("button", "quiet small", text);
  made.type = "button";
  made.dataset.work = work;
  made.setAttribute("aria-label", label);
  return made;
}

/** A stretch on a lane. */
export function part(className, [start, stop], { first, count }, title = "") {
  const made = make("span", `lane-part ${className}`);
  if (title) made.title = title;
  lay(made, start - first, stop - first, count);
  return made;
}
