// Which key means what, on the page of a robot. Pure.
//
// The box is where the hands are. While there is text in it every key writes, but for Escape, Enter and those with
// Alt; while it is empty the arrows and the space bar are the robot's. Where no text is written (the picture has the
// focus, or one drives) letters are keys too. They are named by where they lie on the keyboard, since Alt writes other
// letters on some.

const ARROWS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
const LETTERS = {
  KeyO: { do: "motion", key: "open" },
  KeyC: { do: "motion", key: "close" },
  KeyH: { do: "hand_back" },
  KeyS: { do: "mark", success: true },
  KeyF: { do: "mark", success: false },
  KeyN: { do: "begin" },
  KeyR: { do: "record" },
  KeyX: { do: "discard" },
  KeyW: { do: "describe" },
};
const CHOICE = /^(?:Digit|Numpad)([1-5])$/;

/** What a key that goes down means: { do, … }, or null where it is not ours. `place` is "box", "picture", "control"
 *  (a button or link, which keeps Enter and Space) or "field" (which keeps all but what has Alt); `empty` whether
 *  there is text in the box. */
export function meaning({ code, key, altKey = false, ctrlKey = false, metaKey = false, shiftKey = false }, { place, empty }) {
  if (ctrlKey || metaKey) return null;
  const choice = CHOICE.exec(code);
  if (altKey) return choice ? { do: "choice", number: Number(choice[1]) } : (LETTERS[code] ?? null);
  if (key === "Escape") return place === "box" && !empty ? { do: "clear" } : place === "field" ? { do: "leave" } : { do: "hand_back" };
  if (place === "field" || (place === "box" && !empty)) return null;
  if (ARROWS[code] && !shiftKey) return { do: "motion", key: ARROWS[code] };
  if (code === "Space" && place !== "control") return { do: "pause" };
  if (place === "picture" && !shiftKey) return choice ? { do: "choice", number: Number(choice[1]) } : (LETTERS[code] ?? null);
  return null;
}

/** Which keys for motions are held, however often the keyboard repeats them, by hand or on the page's own buttons. */
export class Held {
  #keys = new Map(); // code of the key or name of the button -> motion

  /** True where that motion begins. */
  press(source, motion) {
    if (this.#keys.has(source)) return false;
    const fresh = !this.has(motion);
    this.#keys.set(source, motion);
    return fresh;
  }

  /** The motion that ends, or null. */
  release(source) {
    const motion = this.#keys.get(source);
    this.#keys.delete(source);
    return motion && !this.has(motion) ? motion : null;
  }

  has(motion) {
    return [...this.#keys.values()].includes(motion);
  }

  get motions() {
    return [...new Set(this.#keys.values())];
  }

  /** Lets go of everything: the window has lost the keyboard. Returns the motions that end. */
  letGo() {
    const ended = this.motions;
    this.#keys.clear();
    return ended;
  }
}
