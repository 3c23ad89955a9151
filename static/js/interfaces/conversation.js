// A live conversation: sends what one says and chooses without leaving the page, and waits for the answers.
//
// The server writes every part; here only what changed is put in place. A reload, another tab and a browser
// without script show the same conversation.

import { foldPrompt } from "./prompt.js";

const DRAFT = "kibitz.draft.";
const SOON = 300;
const SELDOM = 3000;

function cookie(name) {
  return document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1] ?? "";
}

function element(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html.trim();
  return holder.content.firstElementChild;
}

class LiveConversation extends HTMLElement {
  connectedCallback() {
    if (this.form) {
      this.look(SOON);
      return;
    }
    this.form = this.closest("form");
    this.bar = this.form.querySelector("[data-bar]");
    this.log = this.querySelector("[data-log]");
    this.room = this.closest("label-task");
    this.shown = []; // the turns as the server last wrote them
    this.draft = `${DRAFT}${this.room.dataset.annotator}.${this.form.dataset.task}`;
    if (this.querySelector(".prompt")) foldPrompt(this.querySelector(".prompt"));
    // Before the room, which takes every other submit of the form for the label.
    this.form.addEventListener("submit", (event) => this.submit(event));
    this.bar.addEventListener("keydown", (event) => this.key(event));
    this.bar.addEventListener("input", (event) => this.keep(event));
    this.bar.addEventListener("click", (event) => {
      if (event.target.closest("[data-tool=write]")) this.write();
    });
    const kept = localStorage.getItem(this.draft);
    if (kept && this.box) this.box.value = JSON.parse(kept).text;
    this.form.addEventListener("kibitz:shown", () => this.end());
    this.arrange();
    this.end();
    this.look(SOON);
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
  }

  get box() {
    return this.bar.querySelector("textarea[name=said]");
  }

  get state() {
    return this.bar.querySelector("[data-state]").dataset.state;
  }

  // --- what the person does

  key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.ctrlKey || event.metaKey) return;
    const writing = event.target.closest("textarea");
    if (!writing) return;
    event.preventDefault();
    writing.parentElement.querySelector("[data-chat]").click();
  }

  keep(event) {
    if (event.target !== this.box) return;
    try {
      localStorage.setItem(this.draft, JSON.stringify({ text: this.box.value, at: Date.now() }));
    } catch {
      this.note("This browser keeps no drafts: send before you leave.");
    }
  }

  submit(event) {
    const button = event.submitter;
    if (button?.hasAttribute("data-chat")) {
      event.preventDefault();
      event.stopPropagation();
      this.act(button);
      return;
    }
    if (button?.dataset.action !== "send") return;
    const unsent = [...this.bar.querySelectorAll("textarea")].find((one) => one.value.trim() && one.value !== one.defaultValue);
    if (unsent || this.busy) {
      event.preventDefault();
      event.stopPropagation();
      this.note("What you have written is not said yet. Enter says it; empty the box to finish without it.");
      unsent?.focus();
    } else localStorage.removeItem(this.draft);
  }

  /** Says, chooses, writes or takes back; then shows how the conversation stands. */
  async act(button) {
    if (this.busy) return;
    this.busy = true;
    this.toggleAttribute("data-busy", true);
    const fields = new FormData(this.form, button);
    const taken = button.value === "back" ? this.lastSaid() : "";
    try {
      const { status, body } = await this.ask(fields);
      if (status === 200) {
        if (button.value === "say") localStorage.removeItem(this.draft);
        this.note("");
        this.show(body, button.value);
        if (taken && this.box && !this.box.value) {
          this.box.value = taken;
          this.box.select();
        }
      } else {
        this.note(body?.error?.message ?? "You are signed out. Sign in again in another tab, then try again.");
        if (status === 409) await this.refresh();
      }
    } catch {
      this.note("The server cannot be reached. What you wrote is still here; try again.");
    } finally {
      this.busy = false;
      this.toggleAttribute("data-busy", false);
    }
  }

  lastSaid() {
    return this.log.querySelector("li:last-child .turn-user .turn-text")?.innerText.trim() ?? "";
  }

  write() {
    const box = this.box ?? this.bar.querySelector("details[open] textarea");
    box?.focus();
    box?.setSelectionRange(box.value.length, box.value.length);
  }

  note(words) {
    this.dispatchEvent(new CustomEvent("kibitz:note", { bubbles: true, detail: words }));
  }

  // --- what comes back

  async ask(fields) {
    const response = await fetch(this.dataset.address, {
      method: fields ? "POST" : "GET",
      body: fields && new URLSearchParams(fields),
      headers: { Accept: "application/json", "X-CSRFToken": cookie("csrftoken") },
      credentials: "same-origin",
      redirect: "manual",
    });
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    return { status: response.status, body: isJson ? await response.json() : null };
  }

  async refresh() {
    const { status, body } = await this.ask();
    if (status === 200) this.show(body);
    return status;
  }

  /** Looks again while a model owes an answer: soon at first, then less and less often. */
  look(wait) {
    clearTimeout(this.timer);
    if (this.state !== "waiting" || !this.isConnected) return;
    this.timer = setTimeout(async () => {
      let status = 0;
      if (!this.busy) status = await this.refresh().catch(() => 0);
      if (status === 409) this.note("Your turn at this conversation ran out. Reload the page to go on.");
      else this.look(Math.min(wait * 1.3, SELDOM));
    }, wait);
  }

  show(body, did = "") {
    const before = this.state;
    // Only what models answered is worth saying aloud: what one did oneself, one knows.
    this.log.setAttribute("aria-live", did ? "off" : "polite");
    this.showTurns(body.turns);
    this.showBar(body.bar, did);
    if (this.state !== before || did) this.end();
    if (did) this.goOn();
    this.look(SOON);
  }

  showTurns(turns) {
    const list = this.log.querySelector("ol");
    for (const [number, html] of turns.entries()) {
      const fresh = element(html);
      const there = list.children[number];
      if (!there) list.append(fresh);
      else if (!there.isEqualNode(fresh) && this.shown[number] !== html) there.replaceWith(fresh);
      this.shown[number] = html; // one that was opened since is no longer equal, and stays as it is
    }
    while (list.children.length > turns.length) list.lastElementChild.remove();
    const empty = this.log.querySelector(".chat-empty");
    if (empty) empty.hidden = turns.length > 0;
  }

  /** Puts the bar in place; what is being written stays, with its cursor. */
  showBar(html, did) {
    if (this.barHtml === html && !did) return;
    this.barHtml = html;
    const said = { say: "said", write: "written", rewrite: "rewritten" }[did];
    const written = [...this.bar.querySelectorAll("textarea")]
      .filter((one) => one.name !== said && one.value !== one.defaultValue)
      .map((one) => ({
        name: one.name,
        value: one.value,
        open: one.closest("details")?.open,
        at: one === document.activeElement ? [one.selectionStart, one.selectionEnd] : null,
      }));
    const focused = this.bar.contains(document.activeElement) && document.activeElement.dataset.key;
    this.bar.innerHTML = html;
    this.arrange();
    if (focused) this.bar.querySelector(`[data-key="${focused}"]`)?.focus();
    for (const { name, value, open, at } of written) {
      const box = this.bar.querySelector(`textarea[name="${name}"]`);
      if (!box) continue;
      box.value = value;
      if (open) box.closest("details").open = true;
      if (at) {
        box.focus();
        box.setSelectionRange(...at);
      }
    }
  }

  arrange() {
    for (const tool of this.bar.querySelectorAll("[data-tool]")) tool.hidden = false;
  }

  /** Where the focus is after one did something: in the box when it is one's turn to speak, else on the keys. */
  goOn() {
    if (this.state === "yours" && this.box) this.write();
    else this.focus({ preventScroll: true });
  }

  /** The end of the conversation is what one reads. */
  end() {
    const last = this.log.querySelector("li:last-child");
    if (!last) return;
    const over = last.getBoundingClientRect().bottom - this.getBoundingClientRect().bottom + 16;
    if (over > 0) this.scrollTop += over;
    // Of answers longer than the window, the beginning.
    const above = this.getBoundingClientRect().top + 8 - last.getBoundingClientRect().top;
    if (above > 0 && last.hasAttribute("data-open")) this.scrollTop -= above;
  }
}

customElements.define("live-conversation", LiveConversation);
