// What was seen of a dream, by step. Pictures of long dreams are forgotten, the oldest first.

const MOST_PICTURE_BYTES = 48 * 2 ** 20;

/**
 * A moment is {step, action, reward, total, terminated, frame, mixture, surprise, hesitation, end,
 * signals}; `frame` is what the world shows: see sight.js. `frame` and `mixture` are null once forgotten, and all but `step` and `frame` at step 0.
 */
export class History {
  #moments = [];
  #pictures = 0; // first step with a picture

  /** The last step. */
  get length() {
    return this.#moments.length - 1;
  }

  get last() {
    return this.#moments.at(-1);
  }

  at(step) {
    return this.#moments[step];
  }

  /** Return the actions of steps 1 to `step`. */
  actions(step = this.length) {
    return this.#moments.slice(1, step + 1).map((moment) => moment.action);
  }

  map(each) {
    return this.#moments.map(each);
  }

  add(moment) {
    this.#moments.push(moment);
    const room = Math.max(2, Math.floor(MOST_PICTURE_BYTES / (moment.frame.data.byteLength + 8192)));
    while (this.#moments.length - this.#pictures > room) {
      Object.assign(this.#moments[this.#pictures++], { frame: null, mixture: null });
    }
  }

  /** Forget all after `step`. */
  truncate(step) {
    this.#moments.length = step + 1;
    this.#pictures = Math.min(this.#pictures, step);
  }

  /** Return a copy that goes its own way. */
  copy() {
    const copy = new History();
    copy.#moments = this.#moments.map((moment) => ({ ...moment }));
    copy.#pictures = this.#pictures;
    return copy;
  }
}
