// Which of a run's series share a chart, and in what order the charts stand. Pure.

// Read together or not at all: a line's meaning is its distance to the others. The first name lends the
// panel its key, its unit and its help.
const TOGETHER = [
  { title: "Loss", lines: { loss: "train", eval_loss: "held out" } },
  {
    title: "Accuracy",
    lines: { accuracy: "train", eval_accuracy: "held out", "control/shuffled_accuracy": "shuffled" },
  },
  { title: "Margin", lines: { margin: "train", eval_margin: "held out" } },
  { title: "Accuracy", lines: { "rewards/accuracies": "train", "eval_rewards/accuracies": "held out" } },
  { title: "Reward margin", lines: { "rewards/margins": "train", "eval_rewards/margins": "held out" } },
  { title: "Implied reward", lines: { "rewards/chosen": "chosen", "rewards/rejected": "rejected" } },
  { title: "log p of the answers", lines: { "logps/chosen": "chosen", "logps/rejected": "rejected" } },
  { title: "Token accuracy", lines: { mean_token_accuracy: "train", eval_mean_token_accuracy: "held out" } },
  { title: "Scores in the batch", lines: { mean_reward: "mean", min_reward: "lowest", max_reward: "highest" } },
  {
    title: "Answer length",
    lines: {
      "completions/mean_length": "mean",
      "completions/min_length": "shortest",
      "completions/max_length": "longest",
    },
  },
];

// series: [{ id, name, label, unit, better, group, help, vital }] in the order they were first logged, where
// `vital` is the place among the method's vital signs, or null. Returns [{ title, panels }]: what the person pinned, the method's own, then group by group.
export function arrange(series, pinned = []) {
  const byName = new Map(series.map((one) => [one.name, one]));
  const panels = [];
  const placed = new Set();
  for (const one of series) {
    if (placed.has(one.name)) continue;
    const together = TOGETHER.find(({ lines }) => one.name in lines);
    const names = together ? Object.keys(together.lines).filter((name) => byName.has(name)) : [one.name];
    for (const name of names) placed.add(name);
    const first = byName.get(names[0]);
    const alone = names.length === 1;
    panels.push({
      key: together ? Object.keys(together.lines)[0] : one.name,
      title: alone ? first.label : together.title,
      unit: first.unit,
      group: first.group,
      help: names.map((name) => explain(byName.get(name))).join("\n"),
      lines: names.map((name) => ({ ...byName.get(name), label: alone ? first.label : together.lines[name] })),
    });
  }
  const rank = (panel) => Math.min(...panel.lines.map(({ vital }) => vital ?? Infinity));
  const sections = [
    { title: "Pinned", panels: panels.filter(({ key }) => pinned.includes(key)) },
    {
      title: "Vital",
      panels: panels
        .filter((panel) => !pinned.includes(panel.key) && rank(panel) < Infinity)
        .sort((one, other) => rank(one) - rank(other)),
    },
  ];
  const rest = panels.filter((panel) => !pinned.includes(panel.key) && rank(panel) === Infinity);
  for (const group of new Set(rest.map((panel) => panel.group))) {
    sections.push({ title: group, panels: rest.filter((panel) => panel.group === group) });
  }
  return sections.filter((section) => section.panels.length);
}

function explain({ name, label, help, unit, better }) {
  const way = { up: "Higher is better.", down: "Lower is better.", none: "" }[better] ?? "";
  const words = [help, way, unit && `In ${unit}.`].filter(Boolean).join(" ");
  return `${label} (${name})${words ? `: ${words}` : ""}`;
}
