// The worlds whose state the browser draws itself. All others are shown as pictures.
//
// A painter has draw(context, size, scene, state, colours, more), between(a, b, share), describe(scene, state),
// and onTable(size, [left, top]) for whoever points at it. The colours are worldColours() of colours.js.

import * as tableTalk from "./table_talk.js";

// A reach is a table with nothing to carry, and the table with physics is the same table: their states read the same.
const PAINTERS = { table_talk: tableTalk, table_talk_mujoco: tableTalk, reach: tableTalk };

/** Who draws that world; null where nobody does and pictures are shown. */
export function painter(world) {
  return Object.hasOwn(PAINTERS, world) ? PAINTERS[world] : null;
}

/** A context of a square canvas as sharp as the screen is, and its side in the page's own pixels. */
export function fit(canvas, ratio = window.devicePixelRatio || 1) {
  const size = Math.round(canvas.clientWidth);
  const pixels = Math.max(1, Math.round(size * ratio));
  if (canvas.width !== pixels || canvas.height !== pixels) canvas.width = canvas.height = pixels;
  const context = canvas.getContext("2d");
  context.setTransform(pixels / Math.max(1, size), 0, 0, pixels / Math.max(1, size), 0, 0);
  return { context, size };
}
