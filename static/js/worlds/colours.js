// The colours that worlds are drawn in, for the theme now shown. Call again when it changes (onThemeChange).

import { colour } from "../theme.js";
import { THINGS } from "./table_talk.js";

const TOKENS = {
  table: "surface-card",
  grid: "chart-grid",
  line: "line-control",
  text: "text",
  quiet: "text-quiet",
  metal: "text-quiet",
  person: "accent",
  good: "good",
  bad: "bad",
  tray: "surface-inset",
  rim: "line",
};

/** {name: colour} of everything that a painter draws. */
export function worldColours() {
  const dark = isDark();
  const found = Object.fromEntries(Object.entries(TOKENS).map(([name, token]) => [name, colour(token)]));
  for (const [name, { light, dark: night }] of Object.entries(THINGS)) found[name] = dark ? night : light;
  return {
    ...found,
    on: Object.fromEntries(Object.entries(THINGS).map(([name, { on }]) => [name, on[dark ? 1 : 0]])),
    edge: dark ? "rgb(0 0 0 / 55%)" : "rgb(0 0 0 / 45%)",
    shadow: dark ? "rgb(0 0 0 / 45%)" : "rgb(20 20 50 / 16%)",
    dark: dark ? "#05060a" : "#23252e",
    dirt: dark ? "#a58660" : "#7d6142",
    sponge: dark ? "#d9b95a" : "#e8c95f",
    font: getComputedStyle(document.body).fontFamily,
  };
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
