// Putting answers in order: press them from the best to the worst, or drag them to their places.
//
// The places stand in the form's own selects; what is drawn beside them is made from those, every time.

import { foldPrompt } from "./prompt.js";

const EXCERPT = 60;

function make(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

class RankingAnswers extends HTMLElement {
  connectedCallback() {
    if (!this.cards) this.begin();
    this.draw();
  }

  begin() {
    this.form = this.closest("form");
    this.cards = [...this.querySelectorAll("[data-candidate]")];
    this.list = this.querySelector("[data-places]");
    this.send = this.form.querySelector(".scale-send .primary");
    this.tie = this.form.querySelector("[data-tie]");
    this.back = this.form.querySelector("[data-back]");
    this.form.addEventListener("kibitz:restored", () => this.draw());
    foldPrompt(this.querySelector(".prompt"));
    this.classList.add("alive");
    for (const part of [this.querySelector(".order"), this.tie, this.back]) part.hidden = false;
    for (const card of this.cards) {
      const next = card.querySelector("[data-next]");
      next.hidden = false;
      next.addEventListener("click", () => this.press(card));
      card.querySelector("select").addEventListener("change", () => this.place(this.groups()));
      const header = card.querySelector("header");
      header.draggable = true;
      header.title = "Drag it to its place";
      header.addEventListener("dragstart", (event) => this.drag(event, card));
    }
    this.tie.addEventListener("click", () => this.tie.setAttribute("aria-pressed", this.tie.ariaPressed !== "true"));
    this.back.addEventListener("click", () => this.takeOut(this.groups().at(-1)?.at(-1)));
    this.send.addEventListener("click", (event) => this.check(event));
    const order = this.querySelector(".order");
    order.addEventListener("dragover", (event) => this.over(event));
    order.addEventListener("dragleave", () => this.mark(null));
    order.addEventListener("drop", (event) => this.drop(event));
    this.addEventListener("dragend", () => this.mark(null));
  }

  // --- the order, as the selects have it

  /** The cards that have a place, best first; equally good ones in one group. */
  groups() {
    const byPlace = new Map();
    for (const card of this.cards) {
      const { value } = card.querySelector("select");
      if (value) byPlace.set(Number(value), [...(byPlace.get(Number(value)) ?? []), card]);
    }
    return [...byPlace.keys()].sort((a, b) => a - b).map((place) => byPlace.get(place));
  }

  place(groups) {
    const kept = groups.filter((group) => group.length > 0);
    for (const card of this.cards) {
      const place = kept.findIndex((group) => group.includes(card));
      card.querySelector("select").value = place < 0 ? "" : place + 1;
    }
    this.draw();
  }

  without(card) {
    return this.groups().map((group) => group.filter((one) => one !== card));
  }

  // --- what the person does

  /** The next best; or with "=" before it, as good as the last. One that has a place is taken out of it. */
  press(card) {
    const groups = this.groups();
    if (groups.flat().includes(card)) {
      this.takeOut(card);
      return;
    }
    if (this.tie.ariaPressed === "true" && groups.length > 0) groups.at(-1).push(card);
    else groups.push([card]);
    this.tie.setAttribute("aria-pressed", "false");
    this.place(groups);
  }

  takeOut(card) {
    if (card) this.place(this.without(card));
  }

  /** Up or down by half a place: into the group beside it, and out of it on the other side. */
  move(card, step) {
    const groups = this.groups();
    const at = groups.findIndex((group) => group.includes(card));
    if (groups[at].length > 1) {
      groups[at] = groups[at].filter((one) => one !== card);
      groups.splice(step < 0 ? at : at + 1, 0, [card]);
    } else if (groups[at + step]) {
      groups[at + step].push(card);
      groups.splice(at, 1);
    }
    this.place(groups);
    this.list.querySelector(`[data-chip="${card.dataset.name}"]`).focus();
  }

  check(event) {
    const placed = this.groups().flat().length;
    const wanted = this.hasAttribute("data-whole") ? this.cards.length : 2;
    if (placed >= wanted) return;
    event.preventDefault();
    const words = wanted === 2 ? "Give at least two answers a place" : "Give every answer a place";
    this.dispatchEvent(new CustomEvent("kibitz:note", { bubbles: true, detail: `${words}, or skip.` }));
  }

  // --- dragging

  drag(event, card) {
    this.dragged = card;
    event.dataTransfer.setData("text/plain", card.dataset.name);
    event.dataTransfer.effectAllowed = "move";
  }

  mark(target) {
    for (const one of this.querySelectorAll(".over")) one.classList.toggle("over", one === target);
    target?.classList.add("over");
  }

  over(event) {
    const target = event.target.closest("[data-drop]");
    this.mark(target);
    if (this.dragged && target) event.preventDefault();
  }

  drop(event) {
    const target = event.target.closest("[data-drop]");
    if (!this.dragged || !target) return;
    event.preventDefault();
    this.mark(null);
    const groups = this.without(this.dragged);
    const [kind, at] = target.dataset.drop.split(" ");
    if (kind === "join") groups[at].push(this.dragged);
    if (kind === "before") groups.splice(at, 0, [this.dragged]);
    this.dragged = null;
    this.place(groups);
  }

  // --- what is drawn

  draw() {
    const groups = this.groups();
    const lines = [];
    for (const [at, group] of groups.entries()) {
      lines.push(this.gap(at));
      const line = make("li", "place");
      line.dataset.drop = `join ${at}`;
      line.append(make("b", "place-name", this.word(at)), ...group.map((card) => this.chip(card, at)));
      lines.push(line);
    }
    const end = this.gap(groups.length);
    end.classList.add("gap-end");
    const rest = this.cards.filter((card) => !card.querySelector("select").value);
    end.textContent = rest.length > 0 ? `${this.word(groups.length)}: the next answer pressed, or dragged here` : "";
    this.list.replaceChildren(...lines, end);
    this.querySelector("[data-none]").replaceChildren(...rest.map((card) => make("span", "side", card.dataset.name)));
    for (const card of this.cards) {
      const placed = !rest.includes(card);
      card.classList.toggle("placed", placed);
      card.querySelector("[data-next]").firstChild.data = placed ? "Take out " : "Next best ";
    }
    const words = groups.map((group) => group.map((card) => card.dataset.name).join(" = ")).join(" > ");
    this.form.querySelector("[data-order]").textContent = words || "Press the best answer first.";
    this.tie.disabled = groups.length === 0 || rest.length === 0;
    this.back.disabled = groups.length === 0;
  }

  word(at) {
    return this.cards[0].querySelector("select").options[at + 1]?.text ?? "";
  }

  /** Where an answer may be dropped to stand between two others. */
  gap(at) {
    const gap = make("li", "gap");
    gap.dataset.drop = `before ${at}`;
    gap.setAttribute("aria-hidden", "true"); // a place for the mouse; the status line says the same in words
    return gap;
  }

  chip(card, at) {
    const chip = make("button", "chip");
    chip.type = "button";
    chip.draggable = true;
    chip.dataset.chip = card.dataset.name;
    const text = card.querySelector(".answer-text").textContent.trim().replace(/\s+/g, " ").slice(0, EXCERPT);
    chip.append(make("span", "side", card.dataset.name), make("span", "chip-text", text));
    chip.setAttribute("aria-label", `Answer ${card.dataset.name}, ${this.word(at)}. The arrows move it, Delete takes it out.`);
    chip.addEventListener("dragstart", (event) => this.drag(event, card));
    chip.addEventListener("click", () => card.scrollIntoView({ block: "nearest" }));
    chip.addEventListener("keydown", (event) => {
      const work = {
        ArrowUp: () => this.move(card, -1),
        ArrowDown: () => this.move(card, 1),
        Delete: () => this.takeOut(card),
        Enter: () => this.send.click(),
      }[event.key];
      if (!work) return;
      event.preventDefault();
      work();
    });
    return chip;
  }
}

customElements.define("ranking-answers", RankingAnswers);
