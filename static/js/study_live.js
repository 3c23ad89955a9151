// The figures of a study's page, live: every message of the socket holds all of them, so a page that was cut off for a
// while needs nothing but the next one.

const LONGEST = 30_000;

class StudyLive extends HTMLElement {
  connectedCallback() {
    this.tries = 0;
    this.open();
  }

  disconnectedCallback() {
    this.closed = true;
    this.socket?.close();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}${this.dataset.socket}`);
    this.socket.addEventListener("message", (event) => {
      this.tries = 0;
      this.show(JSON.parse(event.data));
    });
    this.socket.addEventListener("close", (event) => {
      if (this.closed || event.code === 4404) return;
      this.say("reconnecting");
      setTimeout(() => this.open(), Math.min(LONGEST, 500 * 2 ** this.tries++));
    });
  }

  /** Figures stand in this element and elsewhere on the page. */
  show(figures) {
    for (const place of document.querySelectorAll("[data-live]")) {
      const value = figures[place.dataset.live];
      const words = value === null || value === undefined ? "–" : value.toLocaleString("en");
      if (place.textContent !== words) place.textContent = words;
    }
    this.say("live");
  }

  say(words) {
    const state = this.querySelector("[data-state]");
    if (state.textContent !== words) state.textContent = words;
    state.dataset.state = words;
  }
}

customElements.define("study-live", StudyLive);
