// What the labelling room says of itself: how much is saved, how much was done, and what the server did not take.

import { element } from "./label_request.js";
import { describe } from "./outbox.js";

/** The line in the bar at the top. */
export function showState(room) {
  const { state, short, long } = describe(room.outbox, room.drafts);
  const saved = document.querySelector("[data-saved]");
  if (saved.dataset.state !== state || saved.title !== long) {
    saved.dataset.state = state;
    saved.title = long;
    saved.setAttribute("role", state === "warn" || state === "bad" ? "alert" : "status");
    const dot = document.createElement("span");
    dot.className = "dot";
    dot.setAttribute("aria-hidden", "true");
    saved.replaceChildren(short, dot);
  }
  const fresh = room.outbox.waiting().filter((entry) => !entry.skip && !entry.revised && !entry.remark).length;
  for (const name of ["today", "total"]) {
    const count = document.querySelector(`[data-count-${name}]`);
    if (count) count.textContent = Number(room.dataset[name]) + fresh;
  }
  showRefusals(room);
}

/** Above the stage, so that the bar below never moves. */
function showRefusals(room) {
  const refused = room.outbox.refused();
  room.refusals.hidden = refused.length === 0;
  const list = document.createElement("ul");
  for (const entry of refused) {
    const line = element(
      `<li class="stack tight"><p><strong></strong> <span></span></p><div class="actions">
        <button type="button" class="small" data-again>Try again</button>
        <button type="button" class="small danger" data-discard></button></div></li>`,
    );
    line.querySelector("strong").textContent = `Task ${entry.task}, ${entry.words}, was not taken.`;
    line.querySelector("span").textContent = entry.problem.message;
    line.querySelector("[data-discard]").textContent = `Give this ${entry.remark ? "remark" : "answer"} up`;
    const written = entry.fields.text ?? entry.fields.remark_text;
    if (written) {
      const text = document.createElement("pre");
      text.textContent = written;
      line.querySelector("p").after(text);
    }
    line.querySelector("[data-again]").addEventListener("click", () => room.outbox.tryAgain(entry.key));
    line.querySelector("[data-discard]").addEventListener("click", () => room.outbox.discard(entry.key));
    list.append(line);
  }
  room.refusals.replaceChildren(list);
}
