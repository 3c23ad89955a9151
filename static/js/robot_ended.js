// What stands below a robot whose episode is over: how it went, and what a person says of it.

export class Ended {
  constructor(root) {
    this.show = (name) => root.querySelector(`[data-show="${name}"]`);
    this.box = this.show("ended");
    this.marks = [true, false].map((success) => [success, root.querySelector(`[data-do=mark-${success ? "yes" : "no"}]`)]);
  }

  /** Another episode is under way. */
  forget() {
    this.box.hidden = true;
    this.keep("");
    this.mark(null);
  }

  /** Shows how it went, and returns that in words. */
  tell({ score, success, why, stages = null, marked = null }) {
    const done = score === null || score === undefined ? "" : ` ${Math.round(score * 100)} % of the task was done.`;
    const words = `The episode is over${why ? `: ${why.replace(/\.$/, "")}` : ""}.${done}`;
    this.show("ended-words").textContent = words;
    this.box.hidden = false;
    this.box.className = `robot-ended ${success ? "good" : ""}`;
    if (marked !== null) this.mark(marked);
    this.#offer(stages);
    return words;
  }

  /** What became of it: how many labels are stored. */
  keep(words) {
    this.show("kept").textContent = words;
  }

  mark(success) {
    for (const [means, button] of this.marks) button.setAttribute("aria-pressed", success === means);
  }

  /** {name: done}, as the world saw them until a person said otherwise. */
  get stages() {
    return Object.fromEntries([...this.show("stages").querySelectorAll("input")].map(({ name, checked }) => [name, checked]));
  }

  #offer(seen) {
    const place = this.show("stages");
    const stages = Object.entries(seen ?? {});
    place.hidden = !stages.length;
    place.replaceChildren(place.querySelector("legend"), ...stages.map(([name, done]) => {
      const label = document.createElement("label");
      label.className = "choice";
      label.append(Object.assign(document.createElement("input"), { type: "checkbox", name, checked: done }), name);
      return label;
    }));
  }
}
