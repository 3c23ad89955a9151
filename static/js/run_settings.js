// What is wrong with a setting as it stands in its field, in the words of trainers/registry.py; "" when nothing is.
// The server checks again: this only says it before anything is sent.

export function problem(name, text, { low, high, above = false, below = false, whole = false } = {}) {
  const written = text.trim();
  if (written === "") return ""; // left alone, it is its default
  const value = /^[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(written) ? Number(written.replaceAll("_", "")) : NaN;
  const fits =
    Number.isFinite(value) &&
    (!whole || Number.isInteger(value)) &&
    (low === undefined || value > low || (value === low && !above)) &&
    (high === undefined || value < high || (value === high && !below));
  return fits ? "" : `'${name}' is '${written}'. Expected ${expected({ low, high, above, below, whole })}.`;
}

function expected({ low, high, above, below, whole }) {
  const least = low === undefined ? "" : ` ${above ? "above" : "of at least"} ${low}`;
  const most = high === undefined ? "" : `${least ? " and" : ""} ${below ? "below" : "at most"} ${high}`;
  return `${whole ? "a whole number" : "a number"}${least}${most}`;
}
