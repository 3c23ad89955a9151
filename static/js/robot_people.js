// Who is at a session: who steers, who watches, who asks to; and the buttons that hand it over.

export class People {
  /** `give(name)` hands the steering to somebody. */
  constructor(root, { give }) {
    this.show = (name) => root.querySelector(`[data-show="${name}"]`);
    this.take = root.querySelector("[data-do=steer]");
    this.give = give;
  }

  tell({ steerer, watchers = [], asking = [], me, may }) {
    const mine = steerer === me && may;
    this.show("people").textContent = steerer ? (mine ? "you steer" : `${steerer} steers`) : "nobody steers";
    this.take.hidden = mine || !may;
    this.take.disabled = asking.includes(me);
    this.take.textContent = !steerer ? "Steer it" : asking.includes(me) ? `${steerer} was asked` : `Ask ${steerer} to hand over`;
    const others = [...new Set([steerer, ...watchers])].filter((name) => name && name !== me);
    this.show("here-none").hidden = others.length > 0;
    this.show("here").replaceChildren(...others.map((name) => this.#person(name, { steerer, asking, mine })));
    const asks = asking.filter((name) => name !== me);
    this.show("asking").hidden = !mine || !asks.length;
    if (mine) this.show("asking").replaceChildren(...asks.map((name) => this.#question(name)));
  }

  #person(name, { steerer, asking, mine }) {
    const line = document.createElement("li");
    const words = document.createElement("span");
    words.textContent = `${name}${name === steerer ? " · steers" : asking.includes(name) ? " · asks to steer" : " · watches"}`;
    line.append(words);
    if (mine && name !== steerer) line.append(this.#button(name, "Hand over"));
    return line;
  }

  #question(name) {
    const line = document.createElement("span");
    line.className = "row";
    const words = document.createElement("b");
    words.textContent = `${name} asks to steer.`;
    line.append(words, this.#button(name, "Hand over"));
    return line;
  }

  #button(name, words) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "small", textContent: words });
    button.setAttribute("aria-label", `${words} to ${name}`);
    button.addEventListener("click", () => this.give(name));
    return button;
  }
}
