// A long prompt is folded beyond twelve lines; E opens and folds it. Folded, a chat shows its end,
// where the question is.

export function foldPrompt(prompt) {
  const turns = prompt.querySelector(".prompt-turns");
  const button = prompt.querySelector(".prompt-more");
  const measure = () => {
    if (turns.classList.contains("open")) return;
    const long = turns.scrollHeight > turns.clientHeight + 8;
    turns.classList.toggle("folded", long);
    button.hidden = !long;
    if (long && turns.children.length > 1) {
      turns.classList.add("chat");
      turns.scrollTop = turns.scrollHeight;
    }
  };
  button.addEventListener("click", () => {
    const open = turns.classList.toggle("open");
    button.setAttribute("aria-expanded", open);
    button.querySelector("span").textContent = open ? "Fold" : "Show all";
    if (!open) measure();
  });
  new ResizeObserver(measure).observe(turns);
  measure();
}
