// The page that starts a run. Choosing a snapshot or a method shows its settings at once, beside the choice, and the
// choice keeps the focus; a setting that cannot be is said at its field when it is left.

import { problem } from "./run_settings.js";

const WAIT = 120; // ms: arrow keys run through the methods without asking for each
const form = document.querySelector("[data-choose]");
const place = document.querySelector("[data-settings]");
let due = null;
let asked = 0;

form.querySelector(".without-script").hidden = true;
form.addEventListener("change", () => {
  clearTimeout(due);
  due = setTimeout(choose, WAIT);
});

// The chosen method is in view: in the list's own scroll, or, where that is above the settings, as the one open family.
const chosen = form.querySelector("input[name=method]:checked");
if (chosen && matchMedia("(max-width: 1000px)").matches) {
  for (const family of form.querySelectorAll(".family")) family.open = family.contains(chosen);
} else if (chosen) {
  const { top } = chosen.closest(".family").getBoundingClientRect();
  form.scrollTop = Math.max(0, top - form.getBoundingClientRect().top - form.clientHeight / 4);
}

async function choose() {
  const address = `?${new URLSearchParams(new FormData(form))}`;
  const number = (asked += 1);
  place.setAttribute("aria-busy", "true");
  const response = await fetch(address).catch(() => null);
  if (number !== asked) return; // somebody has chosen again
  if (!response?.ok) return location.assign(address);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  place.replaceChildren(...page.querySelector("[data-settings]").childNodes);
  place.removeAttribute("aria-busy");
  history.replaceState(null, "", address);
  renewMethods(page);
}

// Another snapshot opens other methods: the list stays as it is, what it says of each changes.
function renewMethods(page) {
  for (const fresh of page.querySelectorAll(".method-choice")) {
    const { value, disabled, checked } = fresh.querySelector("input");
    const here = form.querySelector(`input[value="${CSS.escape(value)}"]`);
    here.disabled = disabled;
    here.checked = checked;
    here.parentElement.className = fresh.className;
    here.nextElementSibling.replaceWith(fresh.querySelector("input + span"));
  }
}

place.addEventListener("change", ({ target }) => {
  const { number: name, low, high, above, below, whole } = target.dataset;
  if (!name) return;
  const bound = (text) => (text === undefined ? undefined : Number(text));
  const words = problem(name, target.value, {
    low: bound(low), high: bound(high), above: above !== undefined, below: below !== undefined, whole: whole !== undefined,
  });
  const row = target.closest(".setting");
  row.classList.toggle("wrong", words !== "");
  row.querySelector(".errorlist")?.remove();
  target.setAttribute("aria-invalid", String(words !== ""));
  if (!words) return;
  const list = Object.assign(document.createElement("ul"), { className: "errorlist", id: `${target.id}_error` });
  list.setAttribute("role", "alert");
  list.append(Object.assign(document.createElement("li"), { textContent: words }));
  row.querySelector(".about").append(list);
  target.setAttribute("aria-describedby", `${target.id}_helptext ${list.id}`);
});
