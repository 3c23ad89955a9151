// The promises that static/css/tokens.css makes about its colours, checked by arithmetic.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const css = readFileSync(new URL("../../static/css/tokens.css", import.meta.url), "utf8");
const THEMES = ["light", "dark"];
const SURFACES = ["surface-page", "surface-card", "surface-inset"];

function token(name, theme) {
  const pair = css.match(new RegExp(`--${name}: light-dark\\((oklch\\([^)]*\\)), (oklch\\([^)]*\\))\\)`));
  assert.ok(pair, `--${name} is a light-dark() pair of oklch() colours`);
  const [lightness, chroma, hue] = pair[theme === "light" ? 1 : 2].match(/[\d.]+/g).map(Number);
  return { lightness: lightness / 100, chroma, hue };
}

// Björn Ottosson's OKLab, and the way from it to linear sRGB.
function oklab({ lightness, chroma, hue }) {
  const angle = (hue * Math.PI) / 180;
  return [lightness, chroma * Math.cos(angle), chroma * Math.sin(angle)];
}

function linear(colour) {
  const [L, a, b] = oklab(colour);
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((value) => Math.min(1, Math.max(0, value)));
}

function fromLinear([red, green, blue]) {
  const l = Math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue);
  const m = Math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue);
  const s = Math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

// Machado, Oliveira and Fernandes (2009), severity 1, on linear sRGB.
function deuteranope([red, green, blue]) {
  return [
    0.367322 * red + 0.860646 * green - 0.227968 * blue,
    0.280085 * red + 0.672501 * green + 0.047413 * blue,
    -0.01182 * red + 0.04294 * green + 0.968881 * blue,
  ].map((value) => Math.min(1, Math.max(0, value)));
}

function luminance(colour) {
  const [red, green, blue] = linear(colour);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

function distance(one, other, eyes) {
  const [x, y] = [one, other].map((colour) => fromLinear(eyes(linear(colour))));
  return Math.hypot(...x.map((value, i) => value - y[i]));
}

function atLeast(floor, foreground, background, theme) {
  const ratio = contrast(token(foreground, theme), token(background, theme));
  assert.ok(ratio >= floor, `--${foreground} on --${background}, ${theme}: ${ratio.toFixed(2)}, wanted ${floor}`);
}

for (const theme of THEMES) {
  test(`text has a contrast of 4.5 on every surface it is written on (${theme})`, () => {
    for (const surface of SURFACES) {
      for (const name of ["text", "text-quiet", "accent", "good", "warn", "bad", "a", "b"]) {
        atLeast(4.5, name, surface, theme);
      }
    }
    for (const name of ["good", "warn", "bad", "accent", "a", "b", "added", "removed"]) {
      atLeast(4.5, name, `${name}-soft`, theme);
      atLeast(4.5, "text", `${name}-soft`, theme);
    }
    for (const name of ["accent", "accent-strong"]) atLeast(4.5, "on-accent", name, theme);
  });

  test(`the border of a control and a line of a chart have a contrast of 3 (${theme})`, () => {
    for (const surface of SURFACES) atLeast(3, "line-control", surface, theme);
    for (let i = 1; i <= 8; i += 1) atLeast(3, `series-${i}`, "surface-card", theme);
  });

  test(`A and B weigh the same and are told apart by colour-blind people (${theme})`, () => {
    const [a, b] = [token("a", theme), token("b", theme)];
    assert.equal(a.lightness, b.lightness);
    assert.equal(a.chroma, b.chroma);
    assert.ok(distance(a, b, deuteranope) > 0.15);
  });

  test(`the eight chart colours are apart for everyone (${theme})`, () => {
    const seen = [];
    for (let i = 1; i <= 8; i += 1) {
      for (let j = i + 1; j <= 8; j += 1) {
        const pair = [token(`series-${i}`, theme), token(`series-${j}`, theme)];
        seen.push([distance(...pair, (x) => x), `${i} and ${j}`], [distance(...pair, deuteranope), `${i} and ${j}, deuteranope`]);
      }
    }
    const [closest, names] = seen.sort((x, y) => x[0] - y[0])[0];
    assert.ok(closest > 0.14, `series ${names} are ${closest.toFixed(3)} apart in OKLab, wanted 0.14`);
  });
}
