// The page that starts a run: choosing a snapshot or a method shows its settings at once.

const form = document.querySelector("[data-choose]");
form.querySelector(".without-script").hidden = true;
form.addEventListener("change", () => form.requestSubmit());
