// The theme switch, and colours for those who draw.
//
// The choice is a cookie, so that the server writes data-theme into the page itself and nothing
// flashes. Without a choice the system's theme is followed.

const ORDER = ["system", "light", "dark"];
const WORDS = { system: "as the system", light: "light", dark: "dark" };

export function chosenTheme() {
  return document.documentElement.dataset.theme || "system";
}

/** The token `--name` as `rgb(…)`, in the theme now shown: canvases and Plotly read no oklch(). */
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const shown = getComputedStyle(probe).color;
  probe.remove();
  const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  pixel.fillStyle = shown;
  pixel.fillRect(0, 0, 1, 1);
  const [red, green, blue] = pixel.getImageData(0, 0, 1, 1).data;
  return `rgb(${red}, ${green}, ${blue})`;
}

/** Calls back when the colours on the page have changed, by the switch or by the system. */
export function onThemeChange(callback) {
  document.addEventListener("kibitz:theme", callback);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
}

function choose(theme) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  if (theme === "system") {
    delete document.documentElement.dataset.theme;
    document.cookie = `theme=; Path=/; Max-Age=0; SameSite=Lax${secure}`;
  } else {
    document.documentElement.dataset.theme = theme;
    document.cookie = `theme=${theme}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  }
  document.dispatchEvent(new CustomEvent("kibitz:theme", { detail: theme }));
}

for (const button of document.querySelectorAll("[data-theme-switch]")) {
  const name = () => {
    button.title = `Theme: ${WORDS[chosenTheme()]}. Press to change.`;
    button.setAttribute("aria-label", button.title);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    choose(ORDER[(ORDER.indexOf(chosenTheme()) + 1) % ORDER.length]);
    name();
  });
  name();
}

// An open menu closes when attention goes elsewhere.
for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}
