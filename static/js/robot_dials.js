// <robot-dials>: what may go wrong in a world, as fields with plain words over the JSON that the form sends. The fields
// of a world are shown when that world is chosen; for one without any, and without script, the JSON stands as it is.

class RobotDials extends HTMLElement {
  connectedCallback() {
    this.json = this.querySelector("textarea");
    this.world = this.closest("form").querySelector("[name=world]");
    this.world.addEventListener("change", () => this.choose());
    this.addEventListener("input", ({ target }) => target.dataset.dial && this.write());
    this.choose();
  }

  get shown() {
    return this.querySelector("fieldset:not([hidden])");
  }

  choose() {
    for (const fields of this.querySelectorAll("fieldset[data-world]")) fields.hidden = fields.dataset.world !== this.world.value;
    this.json.closest(".field").hidden = this.shown !== null;
    if (this.shown) this.read();
  }

  /** What the JSON says, in the fields. */
  read() {
    const said = parsed(this.json.value);
    for (const field of this.shown.querySelectorAll("[data-dial]")) {
      const value = said[field.dataset.dial];
      if (field.type === "checkbox") field.checked = value === true;
      else field.value = value ?? "";
    }
  }

  /** What the fields say, as JSON: a field that is left empty says nothing. */
  write() {
    const said = {};
    for (const field of this.shown.querySelectorAll("[data-dial]")) {
      if (field.type === "checkbox" && field.checked) said[field.dataset.dial] = true;
      else if (field.type !== "checkbox" && field.value !== "") said[field.dataset.dial] = Number(field.value);
    }
    this.json.value = Object.keys(said).length ? JSON.stringify(said) : "";
  }
}

function parsed(text) {
  try {
    return JSON.parse(text || "{}") ?? {};
  } catch {
    return {};
  }
}

customElements.define("robot-dials", RobotDials);
