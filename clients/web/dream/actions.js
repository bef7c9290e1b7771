// A world's action space, as what a person can press: each action by its name's direction.

const DIRECTIONS = [
  ["left", /left|west/i, ["ArrowLeft", "a"]],
  ["up", /up|forward|north|gas|accelerat|throttle/i, ["ArrowUp", "w"]],
  ["down", /down|back|south|brake/i, ["ArrowDown", "s"]],
  ["right", /right|east/i, ["ArrowRight", "d"]],
  ["fire", /fire|shoot|attack|jump/i, ["f"]],
];
const IDLE = /^(noop|no[-_ ]?op|no|none|off|idle|neutral|stay|wait|still|nothing)$/i;
// Rows of the keyboard, without the shortcuts of `Controls`.
const KEY_ROWS = ["123456789", "qwetuio", "asdfghjk", "zxvm"];
const NO_DIGIT = 9; // for `keysOf`
const STEERING = /steer|turn|direction|torque|force/i;

/** The actions of a Discrete world: `choices` are buttons, `idle` is what no button means. */
export class DiscreteActions {
  constructor({ names, n }) {
    this.isBox = false;
    this.names = Array.from({ length: n }, (_, i) => names[i] ?? `action ${i}`);
    this.idle = Math.max(0, this.names.findIndex((name) => IDLE.test(name)));
    const choices = this.names.map((name, action) => ({ name, action, ...keysOf(name, action) }));
    const named = choices.filter(({ action, name }) => action !== this.idle || !IDLE.test(name));
    this.choices = named.sort((a, b) => a.place - b.place || a.action - b.action);
  }

  /** Return the action while these choices are pressed, the last one pressed first. */
  whenPressed(pressed) {
    return pressed.length ? pressed[0].action : this.idle;
  }

  parse(value) {
    return value;
  }

  /** Return an action in words. */
  describe(action) {
    return this.names[action] ?? String(action);
  }
}

/** The components of a Box world: a slider for each, and keys that push it to a bound. */
export class BoxActions {
  constructor({ names, low, high }) {
    this.isBox = true;
    const bound = (bounds, i) => (Array.isArray(bounds) ? bounds[i] : bounds);
    this.sliders = names.map((name, i) => {
      const [least, most] = [bound(low, i), bound(high, i)];
      return { name, least, most, value: Math.min(Math.max(0, least), most) };
    });
    this.choices = this.sliders.flatMap((slider, i) => pushes(slider, i));
  }

  whenPressed(pressed) {
    const values = this.sliders.map(({ value }) => value);
    [...pressed].reverse().forEach(({ component, to }) => (values[component] = to));
    return values;
  }

  parse(value) {
    return Array.isArray(value) ? value : [value];
  }

  describe(action) {
    return action.map((value, i) => `${this.sliders[i].name} ${value.toFixed(2)}`).join(", ");
  }
}

/** Several choices at once: for each component a row of buttons, on a row of the keyboard. */
export class RowsOfActions {
  hasRows = true;

  constructor({ names, nvec, choices }) {
    this.rows = names.map((name, component) => {
      const numbers = Array.from({ length: nvec[component] }, (_, i) => String(i));
      const known = choices?.[component] ?? numbers;
      return { name, known, idle: Math.max(0, known.findIndex((choice) => IDLE.test(choice))) };
    });
    this.choices = this.rows.flatMap((row, component) => buttonsOf(row, component));
  }

  /** Return the action while these choices are pressed: of each component the last one. */
  whenPressed(pressed) {
    const values = this.rows.map(({ idle }) => idle);
    [...pressed].reverse().forEach(({ component, to }) => (values[component] = to));
    return values;
  }

  parse(value) {
    return Array.isArray(value) ? value : [value];
  }

  describe(action) {
    return action.map((value, i) => `${this.rows[i].name} ${this.rows[i].known[value]}`).join(", ");
  }
}

/** Switches, each on while its button is pressed. */
class Switches extends RowsOfActions {
  hasRows = false;

  constructor({ names, n }) {
    super({ names, nvec: Array(n).fill(2), choices: Array(n).fill(["off", "on"]) });
    this.choices.forEach((choice, i) => {
      Object.assign(choice, keysOf(names[i], i), { name: names[i] });
    });
  }
}

/** Return the actions of a world's `action_space`. */
export function actionsOf(space) {
  const kinds = { Box: BoxActions, MultiDiscrete: RowsOfActions, MultiBinary: Switches };
  return new (kinds[space.type] ?? DiscreteActions)(space);
}

const digit = (i) => (i < 9 ? [String(i + 1)] : []);

/** Return the buttons of a component: its choices but the idle one, on its row of the keyboard. */
function buttonsOf({ name, known, idle }, component) {
  const others = known.map((choice, to) => ({ choice, to })).filter(({ to }) => to !== idle);
  return others.map(({ choice, to }, i) => {
    const { direction, keys } = keysOf(choice, NO_DIGIT);
    const arrows = keys.filter((key) => key.startsWith("Arrow"));
    const own = [...(KEY_ROWS[component] ?? "")].slice(i, i + 1);
    return { name: `${name}: ${choice}`, component, to, direction, keys: [...arrows, ...own] };
  });
}

function keysOf(name, action) {
  const place = DIRECTIONS.findIndex(([, pattern]) => pattern.test(name));
  if (place < 0) return { place: 1.5, direction: null, keys: digit(action) };
  const keys = [...DIRECTIONS[place][2], ...digit(action)];
  return { place, direction: DIRECTIONS[place][0], keys };
}

/** Return the keys of a component: the arrows for those that steer, one key for a pedal. */
function pushes({ name, least, most }, component) {
  if (STEERING.test(name) || (least < 0 && component === 0)) {
    return [
      { name: `${name} −`, component, to: least, direction: "left", keys: ["ArrowLeft", "a"] },
      { name: `${name} +`, component, to: most, direction: "right", keys: ["ArrowRight", "d"] },
    ];
  }
  const { direction, keys } = keysOf(name, NO_DIGIT);
  return direction ? [{ name, component, to: most, direction, keys }] : [];
}
