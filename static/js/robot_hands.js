// What hands on keys, a gamepad and a mouse add up to: one action, each number from -1 to 1. Pure.

const DEAD = 0.15; // a stick that is let go does not come to rest in its very middle
const LONGEST = 0.06; // the farthest a gripper goes in a step: nearer than that, it goes as far as the pointer is

const clip = (value) => Math.min(1, Math.max(-1, value));

/** The held motions as [right, up, close]. */
export function ofKeys(motions) {
  const one = (name) => (motions.includes(name) ? 1 : 0);
  return [one("right") - one("left"), one("up") - one("down"), one("close") - one("open")];
}

/** A gamepad: the left stick or the cross moves, A closes, B opens. */
export function ofPad(pad) {
  if (!pad) return [0, 0, 0];
  const pressed = (number) => (pad.buttons[number]?.pressed ? 1 : 0);
  const [x, y] = [pad.axes[0] ?? 0, pad.axes[1] ?? 0];
  const far = Math.hypot(x, y);
  const share = far < DEAD ? 0 : (Math.min(1, far) - DEAD) / (1 - DEAD) / far;
  return [
    clip(x * share + pressed(15) - pressed(14)),
    clip(-y * share + pressed(12) - pressed(13)),
    pressed(0) - pressed(1),
  ];
}

/** A pointer that is held down on the picture: towards it, as fast as the gripper can. */
export function ofPointer(target, gripper) {
  if (!target) return [0, 0, 0];
  return [clip((target[0] - gripper[0]) / LONGEST), clip((target[1] - gripper[1]) / LONGEST), 0];
}

/** Who pushes hardest, for each number. */
export function together(...actions) {
  return actions[0].map((_, i) => actions.map((action) => action[i]).reduce((one, other) => (Math.abs(other) > Math.abs(one) ? other : one), 0) || 0);
}

/** Whether there is anything to do. */
export const still = (action) => action.every((value) => value === 0);
