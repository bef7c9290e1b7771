// Paces the steps of a dream: so many a second, a few of them under way at once.

const MOST_IN_FLIGHT = 6; // covers the way to a distant server; more would only delay the keys
const SLOWER = 0.7;

export class Clock {
  #due = 0;
  #inFlight = new Set();
  #room = [];
  #wanted = 35; // steps a second
  #allowed = Infinity;

  /** Steps a second: what a person wants, or less if the server allows less. */
  get rate() {
    return Math.min(this.#wanted, this.#allowed);
  }

  set rate(wanted) {
    this.#wanted = wanted;
    this.#allowed = Infinity; // until the server says so again
  }

  /** Go on more slowly, as the server refuses steps. Return the rate. */
  slowDown() {
    this.#allowed = Math.max(1, SLOWER * this.rate);
    return this.#allowed;
  }

  /** Resolve when the next step is due and may be sent. */
  async tick() {
    const now = performance.now();
    const period = 1000 / this.rate;
    this.#due = Math.max(this.#due + period, now - 2 * period); // a delay is caught up in part
    if (this.#due > now) await new Promise((resolve) => setTimeout(resolve, this.#due - now));
    if (this.#inFlight.size >= MOST_IN_FLIGHT) {
      await new Promise((resolve) => this.#room.push(resolve));
    }
  }

  /** Count a step as in flight until its promise settles. */
  follow(step) {
    const settled = step.finally(() => {
      this.#inFlight.delete(settled);
      this.#room.splice(0).forEach((resolve) => resolve());
    });
    this.#inFlight.add(settled);
    return settled;
  }

  /** Resolve when no step is in flight. */
  async settled() {
    await Promise.allSettled([...this.#inFlight]);
  }
}
