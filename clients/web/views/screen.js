// The dream's picture, and what is said over it while it does not move.

import { byId, paint } from "./dom.js";

const WINDOW_MS = 1000;

export class Screen {
  #times = []; // of the frames drawn within the last second
  #hasPlayed = false;

  constructor(game) {
    this.game = game;
    this.canvas = byId("screen");
    byId("overlay").addEventListener("click", () => game.play());
    game.addEventListener("moment", ({ detail }) => this.#draw(detail));
    game.addEventListener("change", () => this.#show());
  }

  /** Whether the dream waits for a first key. */
  get isWaiting() {
    return !this.#hasPlayed && !this.game.isPlaying && !this.game.isBusy && this.game.viewed === 0;
  }

  /** Frames drawn in the last second. */
  get framesPerSecond() {
    const since = performance.now() - WINDOW_MS;
    this.#times = this.#times.filter((time) => time > since);
    return this.#times.length;
  }

  /** Another dream has begun. */
  begun() {
    this.#hasPlayed = false;
    this.#show();
  }

  #draw(moment) {
    this.#hasPlayed = true;
    this.#showStep();
    if (moment.step !== this.game.viewed) return;
    paint(this.canvas, moment.frame, this.game.sight);
    this.#times.push(performance.now());
  }

  #show() {
    const { game } = this;
    const moment = game.dream.history.at(game.viewed);
    if (game.isPlaying) this.#hasPlayed = true;
    if (moment?.frame && !game.isPlaying) paint(this.canvas, moment.frame, game.sight);
    this.canvas.classList.toggle("faded", Boolean(moment && !moment.frame));
    this.#showStep();
    byId("rate-badge").hidden = !game.isPlaying;
    const [title, hint] = this.#words(moment);
    byId("overlay").hidden = title === "";
    byId("overlay-title").textContent = title;
    byId("overlay-hint").textContent = hint;
    if (!game.isPlaying && moment) {
      this.canvas.setAttribute("aria-label",
        `A frame of the dream of ${game.dream.spec.world}, step ${game.viewed}`);
    }
  }

  #showStep() {
    const { viewed, dream } = this.game;
    const last = Math.max(dream.step, 0);
    byId("steps").textContent = viewed === last ? String(last) : `${viewed} / ${last}`;
  }

  #words(moment) {
    const { game } = this;
    if (!moment || game.isPlaying || game.isBusy) return ["", ""];
    if (moment.terminated) {
      const ended = `The dream ended at step ${moment.step}`;
      return [ended, "Tap or press R to dream it again, or go back in time"];
    }
    if (game.driver.name === "recording" && this.isWaiting) {
      return ["Play the recording", `${game.driver.actions.length} steps. Tap or press Space`];
    }
    if (this.isWaiting) return ["Play", "Tap, or press an action key"];
    if (moment.frame === null) return ["No picture kept", "Press Space to dream on from this step"];
    return ["", ""];
  }
}
