// The loop that plays a dream: when a step is due, it asks for an action and sends the step.

import { Clock } from "./clock.js";

/**
 * `hooks`: `next()` returns an action or null when there is none left, `advance(action)` takes the
 * step, `arrived(moment)`, `finished()` when none is left and all steps have arrived. Of the errors
 * after each start the first is `failed(error, wasRunning)`: a step may fail after a stop.
 */
export class Loop {
  clock = new Clock();
  isRunning = false;
  #hasFailed = false;
  #ended = Promise.resolve();

  constructor(hooks) {
    this.hooks = hooks;
  }

  start() {
    this.isRunning = true;
    this.#hasFailed = false;
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
        if (this.isRunning) await this.#take(await this.hooks.next());
      } catch (error) {
        this.#fail(error);
      }
    }
    await this.clock.settled();
  }

  async #take(action) {
    if (!this.isRunning) return;
    if (action === null) return this.#finish();
    const step = this.clock.follow(this.hooks.advance(action));
    step.then((moment) => moment && this.hooks.arrived(moment), (error) => this.#fail(error));
    return undefined;
  }

  /** Wait for the last steps, as one that fails is taken again; meanwhile somebody may take over. */
  async #finish() {
    await this.clock.settled();
    if (!this.isRunning || (await this.hooks.next()) !== null) return;
    this.stop();
    this.hooks.finished();
  }

  #fail(error) {
    const wasRunning = this.isRunning;
    this.stop();
    if (this.#hasFailed) return; // later steps fail because of the first
    this.#hasFailed = true;
    this.hooks.failed(error, wasRunning);
  }
}
