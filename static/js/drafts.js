// What somebody has begun and not yet sent, kept in this browser: by person and by task, so that it is there
// again after a reload, a crash, an undo, or another task in between. It goes when the outbox has the answer.
//
// Storage, timer and clock come from outside, and node tests it whole.

const OLD = 14 * 24 * 3600_000;
const PAUSE = 250;
// These belong to one page and one sending; a draft outlives both.
const PASSING = new Set(["csrfmiddlewaretoken", "key", "seconds", "kind", "told", "remark_key"]);

/** The fields inside a form by name, those of the small forms in its bar too; of a choice, each possibility. */
function named(form) {
  const found = new Map();
  for (const field of form.querySelectorAll("input, select, textarea")) {
    if (!field.name || PASSING.has(field.name) || field.type === "file") continue;
    const choice = field.type === "radio" || field.type === "checkbox" ? `=${field.value}` : "";
    let name = `${field.getAttribute("form") ?? ""}:${field.name}${choice}`;
    while (found.has(name)) name += "+"; // several of one name, in their order
    found.set(name, field);
  }
  return found;
}

const isChoice = (field) => field.type === "radio" || field.type === "checkbox";

/** What stands in a form: {name: text, or true and false for a choice}. */
export function fieldsOf(form) {
  return Object.fromEntries(
    [...named(form)].map(([name, field]) => [name, isChoice(field) ? field.checked : field.value]),
  );
}

/** Puts fields back where they were; what the form does not have (any more) is left out. */
export function fill(form, fields) {
  for (const [name, field] of named(form)) {
    if (!(name in fields)) continue;
    if (isChoice(field)) field.checked = fields[name];
    else field.value = fields[name];
  }
}

export class Drafts {
  constructor({
    owner,
    storage,
    later = (callback, milliseconds) => setTimeout(callback, milliseconds),
    now = Date.now,
    changed = () => {},
  }) {
    this.all = "kibitz.draft.";
    this.prefix = `${this.all}${owner}.`;
    this.storage = storage;
    this.later = later;
    this.now = now;
    this.changed = changed;
    this.unkept = new Set(); // tasks whose draft this browser would not store
    this.pending = null; // the task that changed since it was last stored
    this.waiting = false;
    this.sweep();
  }

  /** A task comes before the person: `{id, form}`. True when a draft of it was put back. */
  open(task) {
    if (task.begun) return false;
    task.begun = JSON.stringify(fieldsOf(task.form));
    const draft = this.of(task.id);
    if (draft) fill(task.form, draft);
    task.kept = JSON.stringify(fieldsOf(task.form));
    return draft !== null && task.kept !== task.begun;
  }

  /** Something in the task's form may have changed: it is stored after a short pause. */
  touch(task) {
    if (!task?.begun || JSON.stringify(fieldsOf(task.form)) === task.kept) return;
    this.pending = task;
    this.changed();
    if (this.waiting) return;
    this.waiting = true;
    this.later(() => {
      this.waiting = false;
      this.keep();
    }, PAUSE);
  }

  /** Stores now what is not stored yet. */
  keep(task = this.pending) {
    if (this.pending === task) this.pending = null;
    if (!task?.begun) return;
    const fields = fieldsOf(task.form);
    const text = JSON.stringify(fields);
    if (text !== task.kept) {
      task.kept = text;
      if (text === task.begun) this.forget(task.id);
      else this.write(task.id, fields);
    }
    this.changed();
  }

  /** The task is the person's again, as they left it, though its draft had gone with the answer. */
  again(task) {
    task.kept = null;
    this.keep(task);
  }

  write(task, fields) {
    try {
      this.storage.setItem(this.prefix + task, JSON.stringify({ at: this.now(), fields }));
      this.unkept.delete(task);
    } catch {
      this.unkept.add(task);
    }
  }

  of(task) {
    return JSON.parse(this.storage.getItem(this.prefix + task) ?? "{}").fields ?? null;
  }

  forget(task) {
    if (this.pending?.id === task) this.pending = null;
    this.unkept.delete(task);
    this.storage.removeItem(this.prefix + task);
    this.changed();
  }

  count() {
    return this.names(this.prefix).length;
  }

  names(prefix) {
    const found = [];
    for (let i = 0; i < this.storage.length; i += 1) found.push(this.storage.key(i));
    return found.filter((name) => name.startsWith(prefix));
  }

  /** Drafts of tasks that went to others long ago are swept away, whoever began them. */
  sweep() {
    for (const name of this.names(this.all)) {
      if (this.now() - (JSON.parse(this.storage.getItem(name)).at ?? 0) > OLD) this.storage.removeItem(name);
    }
  }
}
