// Stepping back through what one said: the newest answer first, then the ones before. Answering again is a change
// of mind. The question one came from stays leased, and is there again at the end.

import { element, request } from "./label_request.js";

export class Past {
  /** `room` is the <label-task>. */
  constructor(room) {
    this.room = room;
    this.from = null; // {task}: where one was before stepping back
    this.stepping = false;
  }

  async step() {
    if (this.stepping) return;
    this.stepping = true;
    try {
      await this.goBack();
    } catch {
      this.room.note("The server cannot be reached. Back works again when the connection is there.");
    } finally {
      this.stepping = false;
    }
  }

  async goBack() {
    const { room } = this;
    await room.outbox.flush();
    if (room.outbox.waiting().length > 0) {
      room.note("Your last answers are still on their way. Back works again when they have arrived.");
      return;
    }
    const before = room.current?.label ?? "";
    const query = new URLSearchParams({ kind: room.dataset.kind, before });
    const { status, body } = await request(`${room.dataset.past}?${query}`);
    if (status !== 200) {
      room.note(body?.error?.message ?? "You are signed out. Sign in again in another tab, then go back.");
    } else if (body.task) {
      this.from ??= { task: room.current };
      room.show(room.taken(element(body.task.html)));
    } else if (this.from) {
      this.leave("That was the first of your answers here. You are where you were.");
    } else {
      room.note("There is no answer of yours here to go back to.");
    }
  }

  /** To where one was before stepping back. */
  leave(words = "") {
    const { task } = this.from;
    this.from = null;
    if (task) this.room.show(task);
    else this.room.next();
    this.room.note(words);
  }
}
