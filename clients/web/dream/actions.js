// A world's action space, as what a person can press: each action by its name's direction.

const DIRECTIONS = [
  ["left", /left|west/i, ["ArrowLeft", "a"]],
  ["up", /up|forward|north|gas|accelerat|throttle/i, ["ArrowUp", "w"]],
  ["down", /down|back|south|brake/i, ["ArrowDown", "s"]],
  ["right", /right|east/i, ["ArrowRight", "d"]],
  ["fire", /fire|shoot|attack|jump/i, ["f"]],
];
const IDLE = /^(noop|no[-_ ]?op|none|idle|stay|wait|still|nothing)$/i;
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

/** Return the actions of a world's `action_space`. */
export function actionsOf(space) {
  return space.type === "Box" ? new BoxActions(space) : new DiscreteActions(space);
}

function keysOf(name, action) {
  const place = DIRECTIONS.findIndex(([, pattern]) => pattern.test(name));
  const digit = action < 9 ? [String(action + 1)] : [];
  if (place < 0) return { place: 1.5, direction: null, keys: digit };
  return { place, direction: DIRECTIONS[place][0], keys: [...DIRECTIONS[place][2], ...digit] };
}

/** Return the keys of a component: the arrows for those that steer, one key for a pedal. */
function pushes({ name, least, most }, component) {
  if (STEERING.test(name) || (least < 0 && component === 0)) {
    return [
      { name: `${name} −`, component, to: least, direction: "left", keys: ["ArrowLeft", "a"] },
      { name: `${name} +`, component, to: most, direction: "right", keys: ["ArrowRight", "d"] },
    ];
  }
  const { direction, keys } = keysOf(name, 9);
  return direction ? [{ name, component, to: most, direction, keys }] : [];
}
