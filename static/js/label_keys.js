// Keys press what is printed with them: an element with data-key="s" is pressed by S.
//
// A control that names what it does (data-action) may have another key for whoever wants one.

const WRITABLE = "input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]";

/** The name of a key press as data-key spells it: "7", "n", "space", "ctrl+enter". */
export function nameOf(event) {
  const key = event.key === " " ? "space" : event.key.toLowerCase();
  return (event.ctrlKey || event.metaKey) && key === "enter" ? "ctrl+enter" : key;
}

/** Gives the controls under `root` this person's keys, {action: key}, and the rest the keys they were written with. */
export function apply(root, keys) {
  for (const control of root.querySelectorAll("[data-action][data-key]")) {
    control.dataset.writtenKey ??= control.dataset.key;
    const key = keys[control.dataset.action] ?? control.dataset.writtenKey;
    if (key === control.dataset.key) continue;
    control.dataset.key = key;
    const cap = control.querySelector("kbd");
    if (cap) cap.textContent = key.toUpperCase();
  }
}

/** Closes what is open in the bars; true when something was. */
function close(page) {
  const open = [...page.querySelectorAll("details.drawer[open], details.remark[open]")];
  for (const one of open) one.open = false;
  if (open.some((one) => one.matches(".remark"))) page.querySelector(".stage")?.focus({ preventScroll: true });
  return open.length > 0;
}

/**
 * Listens on the whole page. A key held down counts once: nobody means to judge ten pairs with it. But for controls
 * with `data-repeats`, which go a step further each time.
 */
export function listen(page) {
  page.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const name = nameOf(event);
    if (name !== "ctrl+enter" && (event.ctrlKey || event.metaKey || event.altKey)) return;
    const writing = event.target.closest?.(WRITABLE);
    if (name === "escape") {
      writing?.blur();
      // A menu closes itself; who leaves a field stays at the question.
      if (close(page) || writing || event.target.closest?.("details.menu")) return;
    }
    if (writing && name !== "ctrl+enter") return;
    // A button or link in focus keeps its own Enter, and what can be ticked its own Space.
    if (name === "enter" && event.target.closest?.("a, button, summary")) return;
    if (name === "space" && event.target.closest?.("button, summary, input")) return;
    // In an open flag, and while one is told how it went, the keys are its own: 1 must not judge.
    const scope = page.querySelector(".feedback") ?? event.target.closest?.("[data-own-keys]") ?? page;
    const attribute = scope === page ? "data-key" : "data-own-key";
    const pressed = scope.querySelector(`[${attribute}="${CSS.escape(name)}"]:not([hidden], :disabled)`);
    if (!pressed || (event.repeat && !pressed.hasAttribute("data-repeats"))) return;
    event.preventDefault();
    pressed.click();
    if (pressed.matches("[type=radio]")) scope.querySelector("[data-sentence]")?.focus();
    // What opened is to be written in. At once: the next letter must not be taken for a judgement.
    if (pressed.matches("summary") && pressed.parentElement.open) {
      pressed.parentElement.querySelector("[data-first], textarea")?.focus();
    }
  });
}
