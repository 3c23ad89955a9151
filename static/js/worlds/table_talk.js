// TableTalk, drawn from above: the table, what lies on it, and the gripper. Pure but for the context it draws on.
//
// A state is [gripper x, y, closed, thing held or -1, cost, x and y of each thing, each spot wiped], as
// trainers/envs/table_talk/play.py makes it. Lengths are halves of the table's side: x from -1 (left) to 1
// (right), y from -1 (near) to 1 (far). Every thing wears the first letter of its colour: the picture can be
// read without seeing one.

const MARGIN = 0.06; // around the table, in halves of its side
const HEAD = 5; // numbers in a state before the places of the things
const REACH = 0.06; // a thing whose middle is this near is taken hold of
const NEAR_MARK = 0.08;
const STACKED = 0.06; // nearer than this, one thing lies upon another
const RISE = 0.022; // how far up a thing is drawn for each that lies under it
const SMALLEST_LETTER = 9; // pixels; below that a letter stands beside its thing

// Of the things: light and dark, far apart in lightness too where hues are near for colour-blind people; every
// thing wears its letter besides. `on` is what is written on it.
export const THINGS = {
  red: { light: "#c8323c", dark: "#e0565c", on: ["#ffffff", "#1b0607"] },
  green: { light: "#1d7a4c", dark: "#3fae78", on: ["#ffffff", "#04150c"] },
  blue: { light: "#2458c5", dark: "#5a8bf0", on: ["#ffffff", "#040c1d"] },
  yellow: { light: "#f2c335", dark: "#f5d152", on: ["#2b2100", "#2b2100"] },
  purple: { light: "#6b2fa0", dark: "#a974dd", on: ["#ffffff", "#12051d"] },
  orange: { light: "#e8832a", dark: "#f29b4b", on: ["#241000", "#241000"] },
};

/** What the numbers of a state say. */
export function read(scene, state) {
  const count = scene.things.length;
  return {
    gripper: [state[0], state[1]],
    closed: Math.min(1, Math.max(0, state[2])),
    held: Math.round(state[3]),
    cost: state[4],
    places: scene.things.map((_, number) => [state[HEAD + 2 * number], state[HEAD + 2 * number + 1]]),
    wiped: Array.from(state.slice(HEAD + 2 * count)),
  };
}

/** The moment that lies `share` of the way from one state to the next. What was grasped is grasped at the end. */
export function between(one, next, share) {
  if (one.length !== next.length || share >= 1) return next;
  const moment = Float32Array.from(next, (value, i) => one[i] + (value - one[i]) * share);
  moment[3] = one[3];
  return moment;
}

/** From table to pixels of a canvas of that side, and back. */
export function onScreen(size, [x, y]) {
  const half = size / 2 / (1 + MARGIN);
  return [size / 2 + x * half, size / 2 - y * half];
}

export function onTable(size, [left, top]) {
  const half = size / 2 / (1 + MARGIN);
  return [(left - size / 2) / half, (size / 2 - top) / half];
}

/** Draws a moment on a square of `size` pixels. `trail` is where the gripper was ([[x, y], …], oldest first), `by` who
 *  commands it ("person" or "policy"), `seen` whether to show where a camera that is off sees the things. */
export function draw(context, size, scene, state, colours, { trail = [], by = "policy", seen = false } = {}) {
  const brush = new Brush(context, size, colours);
  const now = read(scene, state);
  context.save();
  context.clearRect(0, 0, size, size);
  context.lineJoin = context.lineCap = "round";
  context.textAlign = "center";
  context.textBaseline = "middle";
  brush.table();
  drawPlaces(brush, scene, now);
  for (const [x, y, radius] of scene.hazards) brush.hazard([x, y], radius);
  brush.trail(trail, by);
  if (seen && Math.hypot(...scene.shift) > 0) {
    scene.things.forEach((thing, number) => brush.ghost(thing, add(now.places[number], scene.shift)));
  }
  drawThings(brush, scene, now);
  brush.gripper(now.gripper, now.closed, holds(scene, now), by);
  context.restore();
}

const add = ([x, y], [right, up]) => [x + right, y + up];
const apart = ([x, y], [u, v]) => Math.hypot(x - u, y - v);
const letter = (thing) => (thing.colour || "").slice(0, 1).toUpperCase();
const holds = (scene, { held }) => (held >= 0 ? scene.things[held] : null);

function drawPlaces(brush, scene, now) {
  if (scene.task === "pack") brush.tray(scene.tray);
  scene.spots.forEach((place, number) => {
    const done = now.wiped[number] ?? 0;
    if (scene.task === "clean") brush.dirt(place, done, number);
    else if (scene.task === "peg") brush.hole(place);
    else if (scene.task === "sort") brush.mark(place, scene.things[number]?.colour, letter(scene.things[number] ?? {}));
    else brush.mark(place, "", { line: "", push: "✕", stack: "" }[scene.task] ?? "");
  });
  if (scene.task === "stack" && scene.spots.length) {
    const order = scene.things.filter(({ shape: form }) => form === "block").map(letter).join(" ‹ ");
    brush.words(add(scene.spots[0], [0, -0.16]), `bottom ${order} top`);
  }
}

function drawThings(brush, scene, now) {
  const lying = [];
  scene.things.forEach((thing, number) => {
    if (number === now.held) return;
    const place = now.places[number];
    const level = lying.filter((other) => apart(other, place) < STACKED).length;
    lying.push(place);
    brush.thing(thing, add(place, [0, level * RISE]), false);
  });
  const held = holds(scene, now);
  if (held) brush.thing(held, now.places[now.held], true);
}

// What is drawn, in the table's lengths.
class Brush {
  constructor(context, size, colours) {
    Object.assign(this, { context, size, colours, half: size / 2 / (1 + MARGIN) });
    this.hair = Math.max(1, size / 480);
  }

  at(place) {
    return onScreen(this.size, place);
  }

  font(pixels, weight = 650) {
    this.context.font = `${weight} ${Math.round(pixels * 10) / 10}px ${this.colours.font ?? "system-ui, sans-serif"}`;
  }

  circle(place, radius) {
    const [x, y] = this.at(place);
    this.context.beginPath();
    this.context.arc(x, y, radius * this.half, 0, 2 * Math.PI);
  }

  // A rounded rectangle about its middle; sides and corner in the table's lengths.
  box(place, [width, height], corner) {
    const [x, y] = this.at(place);
    const [w, h] = [width * this.half, height * this.half];
    this.context.beginPath();
    this.context.roundRect(x - w / 2, y - h / 2, w, h, corner * this.half);
  }

  stroke(colour, width = 1, dash = []) {
    this.context.strokeStyle = colour;
    this.context.lineWidth = width * this.hair;
    this.context.setLineDash(dash.map((length) => length * this.hair));
    this.context.stroke();
    this.context.setLineDash([]);
  }

  fill(colour) {
    this.context.fillStyle = colour;
    this.context.fill();
  }

  words(place, text, colour = this.colours.quiet, pixels = Math.max(10, this.size / 40), weight = 550) {
    const [x, y] = this.at(place);
    this.font(pixels, weight);
    // Words never leave the picture.
    const half = this.context.measureText(text).width / 2 + 4;
    this.context.fillStyle = colour;
    this.context.fillText(text, Math.min(this.size - half, Math.max(half, x)), y);
  }

  table() {
    const { context, colours } = this;
    this.box([0, 0], [2 + 1.4 * MARGIN, 2 + 1.4 * MARGIN], 0.05);
    this.fill(colours.table);
    context.save();
    context.clip();
    context.beginPath();
    for (let line = -1; line <= 1.001; line += 0.25) {
      for (const [from, to] of [[[line, -1.2], [line, 1.2]], [[-1.2, line], [1.2, line]]]) {
        context.moveTo(...this.at(from));
        context.lineTo(...this.at(to));
      }
    }
    this.stroke(colours.grid);
    context.restore();
    this.box([0, 0], [2 + 1.4 * MARGIN, 2 + 1.4 * MARGIN], 0.05);
    this.stroke(colours.line, 1.5);
  }

  tray([x, y, width, height]) {
    this.box([x, y], [2 * width + 0.05, 2 * height + 0.05], 0.05);
    this.fill(this.colours.rim);
    this.box([x, y], [2 * width, 2 * height], 0.03);
    this.fill(this.colours.tray);
    this.stroke(this.colours.line, 1);
    this.words([x, y + height - 0.055], "tray");
  }

  mark(place, colour, sign) {
    const { colours } = this;
    this.box(place, [2 * NEAR_MARK, 2 * NEAR_MARK], 0.03);
    if (colour) {
      this.context.globalAlpha = 0.2;
      this.fill(colours[colour]);
      this.context.globalAlpha = 1;
    }
    this.stroke(colour ? colours[colour] : colours.quiet, 2, [4, 3]);
    // The sign stands above its mark: what lies on the mark must not hide it.
    if (sign) this.words(add(place, [0, NEAR_MARK + 0.055]), sign, colours.text, Math.max(11, this.size / 34), 700);
  }

  hole(place) {
    this.circle(place, 0.075);
    this.fill(this.colours.rim);
    this.stroke(this.colours.line, 1.5);
    this.circle(place, 0.042);
    this.fill(this.colours.dark);
    this.words(add(place, [0, 0.12]), "hole");
  }

  // Dirt fades as it is wiped, and a tick stays.
  dirt([x, y], wiped, number) {
    const { context, colours } = this;
    context.globalAlpha = 1 - wiped;
    for (let blot = 0; blot < 7; blot += 1) {
      const angle = blot * 2.4 + number;
      const out = 0.018 + 0.035 * ((blot * 7 + number * 3) % 5) / 4;
      this.circle([x + out * Math.cos(angle), y + out * Math.sin(angle)], 0.018 + 0.012 * ((blot + number) % 3));
      this.fill(colours.dirt);
    }
    context.globalAlpha = 1;
    if (wiped > 0.5) this.words([x, y], "✓", colours.good, Math.max(13, this.size / 26), 700);
    else this.words([x, y - 0.065 - 8 / this.half], "dirt");
  }

  hazard(place, radius) {
    const { context, colours } = this;
    context.save();
    this.circle(place, radius);
    context.globalAlpha = 0.16;
    this.fill(colours.bad);
    context.globalAlpha = 0.5;
    context.clip();
    context.beginPath();
    for (let stripe = -2; stripe <= 2; stripe += 0.4) {
      context.moveTo(...this.at(add(place, [(stripe - 1) * radius, -radius])));
      context.lineTo(...this.at(add(place, [(stripe + 1) * radius, radius])));
    }
    this.stroke(colours.bad, 1.5);
    context.restore();
    this.circle(place, radius);
    this.stroke(colours.bad, 1.5);
    this.words(place, "!", colours.bad, Math.max(13, this.size / 26), 800);
  }

  trail(places, by) {
    const { context, colours } = this;
    context.lineCap = "butt"; // round ends would show each joint twice
    for (let i = 1; i < places.length; i += 1) {
      context.globalAlpha = 0.55 * (i / places.length);
      context.beginPath();
      context.moveTo(...this.at(places[i - 1]));
      context.lineTo(...this.at(places[i]));
      this.stroke(by === "person" ? colours.person : colours.quiet, 3);
    }
    context.lineCap = "round";
    context.globalAlpha = 1;
  }

  ghost(thing, place) {
    this.form(thing, place, thing.radius);
    this.stroke(this.colours.quiet, 1.25, [2, 3]);
  }

  form(thing, place, radius) {
    if (thing.shape === "block") this.box(place, [2 * radius, 2 * radius], 0.3 * radius);
    else if (thing.shape === "sponge") this.box(place, [2.6 * radius, 1.7 * radius], 0.45 * radius);
    else this.circle(place, radius);
  }

  thing(thing, place, held) {
    const { context, colours } = this;
    const radius = thing.radius * (held ? 1.1 : 1);
    const lift = held ? 0.02 : 0.008;
    this.form(thing, add(place, [lift, -1.5 * lift]), radius);
    this.fill(colours.shadow);
    this.form(thing, place, radius);
    this.fill(colours[thing.colour] ?? colours.sponge);
    this.stroke(colours.edge, 1.25);
    const pixels = radius * this.half * 1.25;
    if (thing.shape === "sponge") {
      for (const [dx, dy] of [[-0.7, 0.25], [-0.2, -0.35], [0.3, 0.3], [0.75, -0.2]]) {
        this.circle(add(place, [dx * radius, dy * radius]), 0.12 * radius);
        this.fill(colours.edge);
      }
    }
    if (thing.shape === "peg") {
      this.circle(place, radius * 0.45);
      this.stroke(colours.on[thing.colour] ?? colours.edge, 1.25);
    }
    const sign = letter(thing);
    if (sign && thing.shape !== "peg" && pixels >= SMALLEST_LETTER) {
      const [x, y] = this.at(place);
      this.font(pixels, 700);
      context.fillStyle = colours.on[thing.colour];
      context.fillText(sign, x, y + pixels * 0.04);
    } else {
      const besides = thing.shape === "peg" ? `${sign} peg` : sign || thing.shape;
      this.words(add(place, [0, -radius - 8 / this.half]), besides, colours.text);
    }
  }

  // Two fingers, apart when open; what is held is between them.
  gripper(place, closed, held, by) {
    const { context, colours } = this;
    const colour = by === "person" ? colours.person : colours.metal;
    const shut = held ? held.radius * (held.shape === "sponge" ? 1.45 : 1.12) : 0.018;
    const gap = REACH + 0.035 + (shut - REACH - 0.035) * closed;
    this.circle(place, REACH);
    context.globalAlpha = 0.7;
    this.stroke(colours.metal, 1, [2, 3]);
    context.globalAlpha = 1;
    for (const side of [-1, 1]) {
      const finger = [place[0] + side * (gap + 0.018), place[1]];
      this.box(add(finger, [0.012, -0.02]), [0.036, 0.13], 0.014);
      this.fill(colours.shadow);
      this.box(finger, [0.036, 0.13], 0.014);
      this.fill(colour);
      this.stroke(colours.table, 1);
      this.box([finger[0] + side * 0.04, finger[1]], [0.05, 0.036], 0.012);
      this.fill(colour);
    }
    if (!held) {
      this.circle(place, 0.008);
      this.fill(colour);
    }
  }
}

/** The moment in words, for whoever does not see it. */
export function describe(scene, state) {
  const now = read(scene, state);
  const held = holds(scene, now);
  const fingers = now.closed > 0.5 ? "closed" : "open";
  const hand = held ? `holding the ${held.name}` : "holding nothing";
  const told = [`The gripper is ${where(now.gripper)}, ${fingers}, ${hand}.`];
  scene.things.forEach((thing, number) => {
    if (number === now.held) return;
    const [right, up] = [now.places[number][0] - now.gripper[0], now.places[number][1] - now.gripper[1]];
    told.push(`The ${thing.name} is ${offset(right, up)}.`);
  });
  if (scene.task === "pack") told.push(`The tray is ${where(scene.tray)}.`);
  scene.spots.forEach((place, number) => {
    const name = { sort: `${scene.things[number]?.colour} mark`, peg: "hole", clean: `dirt ${number + 1}`, stack: "place of the stack" };
    const wiped = scene.task === "clean" && now.wiped[number] > 0.5;
    told.push(`The ${name[scene.task] ?? (scene.spots.length > 1 ? `mark ${number + 1}` : "mark")} is ${wiped ? "wiped" : where(place)}.`);
  });
  if (scene.hazards.length) {
    told.push(`To be kept away from: ${scene.hazards.map((hazard) => where(hazard)).join("; ")}.`);
  }
  return told.join(" ");
}

function where([x, y]) {
  const across = x < -0.33 ? "left" : x > 0.33 ? "right" : "";
  const along = y < -0.33 ? "near" : y > 0.33 ? "far" : "";
  return across && along ? `at the ${along} ${across}` : across ? `at the ${across}` : along ? `at the ${along} side` : "in the middle";
}

// In steps of the gripper as people say them: hundredths of the table's half side.
function offset(right, up) {
  if (Math.hypot(right, up) <= REACH) return "under the gripper";
  const parts = [];
  if (Math.abs(right) > 0.03) parts.push(`${Math.round(Math.abs(right) * 100)} to the ${right > 0 ? "right" : "left"}`);
  if (Math.abs(up) > 0.03) parts.push(`${Math.round(Math.abs(up) * 100)} ${up > 0 ? "up" : "down"}`);
  return `${parts.join(" and ")} of the gripper`;
}

/** Where the gripper is: what leaves a trail, and what a pointer drags. */
export const tip = (state) => [state[0], state[1]];
