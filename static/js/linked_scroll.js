// Where in the other text the same thing stands: two texts are laid beside each other at the blocks they share.

import { pieces } from "./diff.js";

/** Pairs of indices of blocks that belong together: equal ones; where none is, block by block if they are as many. */
export function together(a, b) {
  const equal = pieces(a, b).filter((piece) => piece.kind === "same").map(({ before, after }) => [before, after]);
  if (equal.length > 0 || a.length !== b.length) return equal;
  return a.map((_, i) => [i, i]);
}

/** The place in the other text for a place in this one: in proportion between the two anchors around it. */
export function across(anchors, place) {
  let [from, to] = [anchors[0], anchors.at(-1)];
  for (const anchor of anchors) {
    if (anchor[0] <= place && anchor[0] >= from[0]) from = anchor;
    if (anchor[0] > place) {
      to = anchor;
      break;
    }
  }
  if (to[0] <= from[0]) return from[1];
  return from[1] + ((place - from[0]) / (to[0] - from[0])) * (to[1] - from[1]);
}
