// What a person presses: keys, touch buttons and sliders, as the action they mean together.

import { byId, element } from "./dom.js";

const ARROWS = { left: "←", right: "→", up: "↑", down: "↓" };
const MOVES = /^(Arrow\w+|Home|End|Page\w+)$/; // keys of a slider
const KEY_NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

/** Whether a key belongs to the element that has the focus, and not to the game. */
export function isTyping(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  const holder = event.target.closest?.("input, select, dialog");
  if (!holder) return false;
  const isSlider = holder.type === "range" || holder.type === "radio";
  return !isSlider || MOVES.test(event.key);
}

export class Input {
  #actions = null;
  #pressed = []; // choices, the last one pressed first
  #held = new Map(); // keys that are down → their choices
  #latched = new Set(); // choices that stay pressed until the next click

  /** `onPress()` is called when a person presses an action. */
  constructor(onPress) {
    this.onPress = onPress;
    addEventListener("keydown", (event) => this.#key(event, true));
    addEventListener("keyup", (event) => this.#key(event, false));
    addEventListener("blur", () => this.#releaseAll());
    addEventListener("pagehide", () => this.#releaseAll());
  }

  /** Return the action that is pressed now. */
  action() {
    return this.#actions.whenPressed(this.#pressed);
  }

  /** Show the buttons and sliders of a world's actions. */
  show(actions) {
    this.#actions = actions;
    this.#pressed = [];
    this.#held.clear();
    this.#latched.clear();
    const buttons = actions.choices.flatMap((choice, i) => {
      const isNew = actions.hasRows && i && choice.component !== actions.choices[i - 1].component;
      return [...(isNew ? [element("span", { className: "break" })] : []), this.#button(choice)];
    });
    byId("buttons").replaceChildren(...buttons);
    const sliders = (actions.sliders ?? []).map((slider) => this.#slider(slider));
    byId("sliders").replaceChildren(...sliders);
  }

  #button(choice) {
    const [key] = choice.keys;
    const arrow = ARROWS[choice.direction];
    const button = element("button",
      { type: "button", className: "action", "aria-pressed": "false", "aria-label": choice.name },
      element("span", { className: "arrow", "aria-hidden": "true" }, arrow ?? ""),
      element("span", {}, choice.name));
    if (key && !arrow) {
      button.append(element("kbd", { "aria-hidden": "true" }, KEY_NAMES[key] ?? key.toUpperCase()));
    }
    choice.button = button;
    button.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // no selection, no long-press menu
      button.setPointerCapture(event.pointerId);
      this.#press(choice);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      button.addEventListener(end, () => this.#release(choice));
    }
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    for (const act of ["keydown", "keyup"]) {
      button.addEventListener(act, (event) => {
        if (!["Enter", " "].includes(event.key)) return;
        event.preventDefault(); // no click besides
        if (act === "keyup") this.#release(choice);
        else if (!event.repeat) this.#press(choice);
      });
    }
    button.addEventListener("click", ({ detail }) => detail === 0 && this.#latch(choice));
    button.addEventListener("blur", () => this.#latched.has(choice) || this.#release(choice));
    return button;
  }

  /** A click without a pointer, as of a screen reader, cannot be held: it lasts until the next. */
  #latch(choice) {
    const wasLatched = this.#latched.has(choice);
    for (const other of this.#latched) {
      if (other.component === choice.component) this.#release(other);
    }
    if (wasLatched) return;
    this.#latched.add(choice);
    this.#press(choice);
  }

  #slider(slider) {
    const value = element("output", {}, slider.value.toFixed(2));
    const range = element("input", {
      type: "range", min: slider.least, max: slider.most, step: "any", value: slider.value,
    });
    range.addEventListener("input", () => {
      slider.value = Number(range.value);
      value.textContent = slider.value.toFixed(2);
      this.onPress();
    });
    return element("label", {}, element("span", {}, slider.name), range, value);
  }

  #key(event, isDown) {
    if (this.#actions === null) return;
    const place = event.code || event.key; // with Shift, a key comes up with another name
    if (!isDown) return this.#keyUp(place);
    if (isTyping(event)) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const choice = this.#actions.choices.find(({ keys }) => keys.includes(name));
    if (!choice) return;
    event.preventDefault(); // arrows would scroll the page
    if (event.repeat) return;
    this.#held.set(place, choice);
    this.#press(choice);
  }

  #keyUp(place) {
    const choice = this.#held.get(place);
    this.#held.delete(place);
    if (choice && ![...this.#held.values()].includes(choice)) this.#release(choice);
  }

  #press(choice) {
    if (!this.#pressed.includes(choice)) this.#pressed.unshift(choice);
    choice.button.setAttribute("aria-pressed", "true");
    this.onPress();
  }

  #release(choice) {
    this.#pressed = this.#pressed.filter((other) => other !== choice);
    this.#latched.delete(choice);
    choice.button.setAttribute("aria-pressed", "false");
  }

  #releaseAll() {
    this.#held.clear();
    [...this.#pressed].forEach((choice) => this.#release(choice));
  }
}
