// What the policy is thinking of doing: its likeliest commands with their probabilities, one press each.

export class Choices {
  constructor(root) {
    const show = (name) => root.querySelector(`[data-show="${name}"]`);
    this.list = show("choices");
    this.none = show("choices-none");
    this.how = show("choices-how");
  }

  /** [[command, probability], …], the likeliest first; `steers`: whether they may be pressed; `drives`: whether the
   *  one who looks has the wheel. */
  tell(choices, { steers, drives }) {
    const { list } = this;
    this.none.hidden = choices.length > 0;
    this.none.textContent = drives ? "Nothing: you drive." : "Nothing yet. Its likeliest commands stand here, with their probabilities.";
    while (list.children.length > choices.length) list.lastElementChild.remove();
    choices.forEach(([command, probability], i) => {
      const button = (list.children[i] ?? list.appendChild(this.#line(i))).firstElementChild;
      const percent = Math.round(probability * 100);
      button.value = command;
      button.querySelector(".words").textContent = command;
      button.querySelector(".number").textContent = `${percent} %`;
      button.querySelector("i").style.width = `${percent}%`;
    });
    this.dress(steers);
  }

  /** Only who steers may press them. */
  dress(steers) {
    for (const { firstElementChild: button } of this.list.children) button.disabled = !steers;
    this.how.hidden = !(steers && this.list.childElementCount);
  }

  press(number) {
    this.list.querySelector(`[data-choice="${number}"]`)?.click();
  }

  #line(i) {
    const line = document.createElement("li");
    line.innerHTML = `<button type="button" class="choice-chip" data-choice="${i + 1}"><kbd>${i + 1}</kbd><span class="words"></span><span class="number"></span><i aria-hidden="true"></i></button>`;
    return line;
  }
}
