// One thing at a time: work in the order in which it was asked for, again while the server only
// asks to wait. Work that waits so gives way to what is asked for next.

import { ConnectionLostError, isTemporary } from "../wire/errors.js";

const LEAST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 5000; // room may come sooner than the server promises

export class Turns {
  #last = Promise.resolve();
  #next = 0; // turns that were asked for and have not begun
  #giveWay = () => {}; // ends the wait of the present turn

  /** `whenOpen()` resolves once there is a connection; `tell(error)` is told what is waited for. */
  constructor(whenOpen, tell) {
    Object.assign(this, { whenOpen, tell });
  }

  /** Call `turn()` after all that was asked for before. Return its result. */
  take(turn) {
    this.#next++;
    this.#giveWay();
    const taken = this.#last.then(() => {
      this.#next--;
      return turn();
    });
    this.#last = taken.catch(() => null);
    return taken;
  }

  /**
   * Do `work` as often as the connection needs and, unless it is `optional`, until the server no
   * longer asks to wait; `refused` is such an answer to an attempt before. Return whether it was
   * done, or null if it gave way. Throws what `work` throws otherwise.
   */
  async persist(work, { optional = false, refused = null } = {}) {
    let error = refused;
    for (;;) {
      if (error !== null) {
        this.tell(error);
        await this.#wait(error);
        if (this.#next > 0) return null;
      }
      try {
        await this.whenOpen();
        await work();
        return true;
      } catch (problem) {
        const isLost = problem instanceof ConnectionLostError;
        if (!isLost && (optional || !isTemporary(problem))) throw problem;
        error = isLost ? null : problem;
      }
    }
  }

  #wait({ retryAfterS = 0 }) {
    if (this.#next > 0) return null;
    const wait_ms = Math.min(LONGEST_WAIT_MS, Math.max(LEAST_WAIT_MS, 1000 * retryAfterS));
    return new Promise((resolve) => {
      setTimeout(resolve, wait_ms);
      this.#giveWay = resolve;
    });
  }
}
