// Whether a recording shows success or failure: one of three marks. Pressed again, a mark is taken back.

export class Outcome {
  #marks;
  #before;

  constructor(form) {
    this.#marks = [...form.querySelectorAll("input[name=success]")];
    for (const mark of this.#marks) mark.addEventListener("click", () => this.#press(mark));
    form.addEventListener("kibitz:restored", () => this.#look());
    this.#look();
  }

  /** "1", "0", or "" where nothing is said. */
  get marked() {
    return this.#checked?.value ?? "";
  }

  get #checked() {
    return this.#marks.find(({ checked }) => checked);
  }

  #look() {
    this.#before = this.#checked;
  }

  #press(mark) {
    if (mark === this.#before && mark.value) {
      this.#marks.find(({ value }) => value === "").checked = true; // the click itself has the room keep it
    }
    this.#look();
  }
}
