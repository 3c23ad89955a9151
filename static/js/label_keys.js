// Keys press what is printed with them: an element with data-key="s" is pressed by S.

const WRITABLE = "input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]";

/** The name of a key press as data-key spells it: "7", "n", "ctrl+enter". */
export function nameOf(event) {
  const key = event.key.toLowerCase();
  return (event.ctrlKey || event.metaKey) && key === "enter" ? "ctrl+enter" : key;
}

/** Listens on the whole page. A key held down counts once: nobody means to judge ten pairs with it. */
export function listen(page) {
  page.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.repeat || event.isComposing) return;
    const name = nameOf(event);
    if (name !== "ctrl+enter" && (event.ctrlKey || event.metaKey || event.altKey)) return;
    const writing = event.target.closest?.(WRITABLE);
    if (writing && name === "escape") writing.blur();
    if (writing && name !== "ctrl+enter") return;
    if (name === "escape") {
      for (const open of page.querySelectorAll("details.drawer[open]")) open.open = false;
      return;
    }
    // A button or link in focus keeps its own Enter.
    if (name === "enter" && event.target.closest?.("a, button, summary")) return;
    const pressed = page.querySelector(`[data-key="${CSS.escape(name)}"]:not([hidden], :disabled)`);
    if (!pressed) return;
    event.preventDefault();
    pressed.click();
    // What opened is to be written in. At once: the next letter must not be taken for a judgement.
    if (pressed.matches("summary") && pressed.parentElement.open) pressed.parentElement.querySelector("textarea")?.focus();
  });
}
