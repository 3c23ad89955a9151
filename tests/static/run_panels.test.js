// Which series share a chart, and in what order the charts stand.
import assert from "node:assert/strict";
import { test } from "node:test";

import { arrange } from "../../static/js/run_panels.js";

function series(names, vital = []) {
  return names.map((name, id) => ({
    id,
    name,
    label: `the ${name}`,
    unit: "nat",
    better: "up",
    group: name.startsWith("eval") ? "Held out" : "Training",
    help: `What ${name} is.`,
    vital: vital.includes(name) ? vital.indexOf(name) : null,
  }));
}
const keys = (sections) => sections.map(({ title, panels }) => [title, panels.map(({ key }) => key)]);

test("the method's own charts come first, in its order, then the rest by group", () => {
  const sections = arrange(series(["grad_norm", "loss", "entropy", "mean_token_accuracy"], ["mean_token_accuracy", "loss"]));
  assert.deepEqual(keys(sections), [["Vital", ["mean_token_accuracy", "loss"]], ["Training", ["grad_norm", "entropy"]]]);
});

test("training and held out, chosen and rejected are lines of one chart", () => {
  const [section] = arrange(series(["loss", "eval_loss", "logps/chosen", "logps/rejected"], ["eval_loss", "logps/chosen"]));
  assert.deepEqual(section.panels.map(({ title, lines }) => [title, lines.map(({ id, label }) => [id, label])]), [
    ["Loss", [[0, "train"], [1, "held out"]]],
    ["log p of the answers", [[2, "chosen"], [3, "rejected"]]],
  ]);
});

test("a series whose companions were never logged keeps its own name, and its chart keeps its place when they come", () => {
  const alone = arrange(series(["eval_loss"]))[0].panels[0];
  assert.deepEqual([alone.title, alone.key], ["the eval_loss", "loss"]);
  assert.equal(arrange(series(["eval_loss", "loss"]))[0].panels[0].key, "loss");
});

test("what a person pinned stands above everything and nowhere else", () => {
  const sections = arrange(series(["loss", "grad_norm"], ["loss"]), ["grad_norm"]);
  assert.deepEqual(keys(sections), [["Pinned", ["grad_norm"]], ["Vital", ["loss"]]]);
});

test("the plain meaning, the name as logged and which way is better are in the help", () => {
  const [{ panels: [panel] }] = arrange(series(["loss"]));
  assert.equal(panel.help, "the loss (loss): What loss is. Higher is better. In nat.");
});
