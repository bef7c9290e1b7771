// Buttons and shortcuts: who plays, how fast, from what, and the link to share.

import { writeLink } from "../dream/link.js";
import { byId, element } from "./dom.js";
import { isTyping } from "./input.js";

const LARGEST_SEED = 1_000_000;

export const randomSeed = () => Math.floor(Math.random() * LARGEST_SEED);

export class Controls {
  constructor(game, notices) {
    Object.assign(this, { game, notices });
    const buttons = {
      play: () => (game.isPlaying ? game.pause() : game.play()),
      back: () => game.look(game.viewed - 1),
      forward: () => game.forward(),
      again: () => game.again(),
      new: () => game.again({ seed: randomSeed() }),
      branch: () => game.branch(),
      share: () => this.#share(),
    };
    for (const [id, act] of Object.entries(buttons)) byId(id).addEventListener("click", act);
    this.keys = {
      " ": buttons.play, ",": buttons.back, ".": buttons.forward, r: buttons.again, n: buttons.new,
      b: buttons.branch, l: buttons.share,
      y: () => game.let("person"), p: () => game.let("planner"),
      c: () => game.world.hasController && game.let("controller"),
    };
    addEventListener("keydown", (event) => this.#key(event));
    document.forms.driver.addEventListener("change", ({ target }) => game.let(target.value));
    this.#listen();
    game.addEventListener("worlds", () => this.#listWorlds());
    game.addEventListener("begin", () => this.#listWorlds());
    game.addEventListener("change", () => this.#show());
  }

  /** Another world: it may have no controller. */
  entered() {
    const { driver } = document.forms.driver.elements;
    for (const radio of driver) {
      radio.disabled = radio.value === "controller" && !this.game.world.hasController;
    }
  }

  #listWorlds() {
    const { worlds, dream } = this.game;
    const options = worlds.map(({ name }) => element("option", { value: name }, name));
    byId("world").replaceChildren(...options);
    byId("world").disabled = worlds.length < 2 && worlds[0]?.name === dream.spec?.world;
    if (dream.spec) byId("world").value = dream.spec.world;
  }

  #listen() {
    const { game } = this;
    byId("world").addEventListener("change", ({ target }) =>
      game.begin({ world: target.value, seed: game.dream.spec?.seed, temperature: 1 }));
    byId("temperature").addEventListener("input", ({ target }) => this.#temperature(target.value));
    byId("temperature").addEventListener("change", ({ target }) =>
      game.again({ temperature: Number(target.value) }));
    byId("seed").addEventListener("change", ({ target }) => {
      if (target.reportValidity()) game.again({ seed: Number(target.value) });
    });
    byId("seed").addEventListener("keydown", ({ key, target }) => {
      if (key === "Enter" && target.reportValidity()) target.blur(); // the keys are the game's again
    });
    byId("rate").addEventListener("change", ({ target }) => {
      game.loop.clock.rate = Number(target.value);
    });
    byId("clear-start").addEventListener("click", () => game.again({ start: undefined }));
    // After a pointer, the keys belong to the game again; `detail` is 0 for a click by keyboard.
    addEventListener("click", ({ target, detail }) => {
      const pressed = target.closest?.("button, input:not([type=number])");
      if (detail > 0 && pressed && !pressed.closest("dialog")) pressed.blur();
    });
    for (const id of ["rate", "world", "futures-policy"]) {
      byId(id).addEventListener("change", ({ target }) => target.blur());
    }
  }

  #key(event) {
    if (isTyping(event) || event.repeat && ![",", "."].includes(event.key)) return;
    if (event.key === " " && event.target.closest?.("button, summary, a")) return; // presses it
    const act = this.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #show() {
    const { game } = this;
    const { dream, isPlaying } = game;
    byId("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    byId("play").classList.toggle("playing", isPlaying);
    byId("back").disabled = !dream.spec || game.viewed === 0;
    byId("forward").disabled = !dream.spec || (dream.hasEnded && game.viewed === dream.step);
    for (const radio of document.forms.driver.elements.driver) {
      radio.checked = radio.value === game.driver.name;
    }
    if (dream.spec) this.#showSpec(dream.spec);
  }

  #showSpec({ seed, temperature, start, world }) {
    if (document.activeElement !== byId("seed")) byId("seed").value = seed;
    if (document.activeElement !== byId("temperature")) byId("temperature").value = temperature;
    this.#temperature(temperature);
    byId("world").value = world;
    const word = this.game.sight.isPicture ? "frame" : "moment";
    byId("start").textContent =
      start?.bank === undefined ? `a real ${word} drawn from the seed` : `real ${word} ${start.bank}`;
    byId("clear-start").hidden = start?.bank === undefined;
  }

  #temperature(value) {
    byId("temperature-text").textContent = Number(value).toFixed(2);
  }

  async #share() {
    const { dream, viewed } = this.game;
    if (!dream.spec) return;
    const { fragment, fits } = writeLink(dream.spec, dream.history.actions(viewed));
    const link = new URL(fragment, location.href).href;
    history.replaceState(null, "", fragment);
    const what = fits
      ? `the dream up to step ${viewed}`
      : "this beginning; the actions are too many for a link";
    try {
      await navigator.clipboard.writeText(link);
      this.notices.show("info", `Link copied: it replays ${what}.`);
    } catch {
      // Without HTTPS, or without permission, the address bar has it.
      this.notices.show("info", `The address bar has the link now: it replays ${what}.`);
    }
  }
}
