// The loop that plays a dream: when a step is due, it asks for an action and sends the step.

import { Clock } from "./clock.js";

/**
 * `hooks`: `next()` returns an action or null when there is none left, `advance(action)` takes the
 * step, `arrived(moment)`, `finished()` when there is none left, `failed(error)` once per stop.
 */
export class Loop {
  clock = new Clock();
  isRunning = false;
  #ended = Promise.resolve();

  constructor(hooks) {
    this.hooks = hooks;
  }

  start() {
    this.isRunning = true;
    this.#ended = this.#run();
  }

  /** Send no further step; those in flight still arrive. */
  stop() {
    this.isRunning = false;
  }

  /** Stop, and resolve when no step is in flight. */
  async stopped() {
    this.stop();
    await this.#ended;
  }

  async #run() {
    while (this.isRunning) {
      try {
        await this.clock.tick();
        if (this.isRunning) this.#take(await this.hooks.next());
      } catch (error) {
        this.#fail(error);
      }
    }
    await this.clock.settled();
  }

  #take(action) {
    if (!this.isRunning) return;
    if (action === null) {
      this.stop();
      this.hooks.finished();
      return;
    }
    const step = this.clock.follow(this.hooks.advance(action));
    step.then((moment) => moment && this.hooks.arrived(moment), (error) => this.#fail(error));
  }

  #fail(error) {
    const wasRunning = this.isRunning;
    this.stop();
    if (wasRunning) this.hooks.failed(error);
  }
}
