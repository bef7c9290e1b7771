// One dream on the server: a session, and all that is needed to dream it again, which is its world,
// seed, temperature, start and actions.

import { isGone } from "../wire/errors.js";
import { History } from "./history.js";
import { Sight } from "./sight.js";
import { hesitationOf, surpriseOf } from "./surprise.js";

const WINDOWS = [256, 64, 0]; // rewind windows, the largest that the server grants
const IN_FLIGHT = 64; // steps at once while dreaming it again

// Begins the ids of all sessions of this page. A load balancer hashes it, so they live on one server.
export const ROUTE = random();

/** Return an id that no other page has. */
export function newId(kind = "play") {
  return `${ROUTE}--${kind}-${random()}`;
}

function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Dream {
  #epoch = 0; // answers to requests of an earlier one are dropped
  #window = 0; // index in WINDOWS
  history = new History();
  id = newId();
  spec = null; // {world, seed, temperature, start}
  sight = new Sight("frame"); // what its world shows
  signals = []; // names of its world's
  sent = 0; // number of the last step that was sent

  /** `onProgress(step, of)` is called while a dream is dreamt again. */
  constructor(stream, onProgress) {
    this.stream = stream;
    this.onProgress = onProgress;
  }

  get step() {
    return this.history.length;
  }

  get hasEnded() {
    return this.history.last?.terminated ?? false;
  }

  /** Begin the dream of `spec`, in a world with this sight and these signals. Rejects with
   * ProblemError or ConnectionLostError. */
  async begin(spec, { sight, signals }) {
    const epoch = ++this.#epoch;
    const begun = await this.#reset(this.id, spec, sight.include);
    if (epoch !== this.#epoch) return;
    Object.assign(this, { sight, signals });
    this.spec = { ...spec, world: begun.world, seed: begun.seed, temperature: begun.temperature };
    this.#hold(new History());
    const frame = sight.of(begun);
    this.history.add({ step: 0, total: 0, terminated: false, frame, mixture: null });
  }

  /** Take the next step. Return its moment, or null if another dream has begun meanwhile. */
  async advance(action) {
    const epoch = this.#epoch;
    const include = [...this.sight.include, "mixture", ...(this.signals.length ? ["signals"] : [])];
    const fields = { session_id: this.id, action, step: ++this.sent, include };
    const result = await this.stream.request("step", fields);
    if (epoch !== this.#epoch) return null;
    const { step, reward, terminated, mixture, latent, info, signals } = result;
    const moment = {
      step, action, reward, terminated, mixture, latent, signals,
      frame: this.sight.of(result),
      total: this.history.last.total + reward,
      surprise: surpriseOf(latent, mixture),
      hesitation: hesitationOf(mixture),
      end: info.end_probability,
    };
    this.history.add(moment);
    return moment;
  }

  /**
   * Return to a step; later ones are discarded. Return whether the server had lost the session, so
   * that the dream was dreamt again from its seed.
   */
  async returnTo(step) {
    this.#epoch++;
    const wasGone = await this.#rewind(this.id, step);
    this.history.truncate(step);
    this.sent = step;
    return wasGone;
  }

  /** Return a branch: a copy of the session on the server at this step, which has a picture. */
  async fork() {
    const [id, { include }] = [newId("branch"), this.sight];
    const fields = { session_id: this.id, session_ids: [id], include };
    const forked = await this.stream.request("fork", fields);
    this.history.last.frame ??= this.sight.of(forked); // one of long ago was forgotten
    return { id, spec: this.spec, sight: this.sight, history: this.history.copy() };
  }

  /** Go on from a branch, which stays. Return whether the server had lost it. */
  async become(branch) {
    this.#epoch++;
    const step = branch.history.length;
    const copy = () =>
      this.stream.request("fork", { session_id: branch.id, session_ids: [this.id] });
    this.spec = branch.spec;
    this.#hold(branch.history.copy());
    try {
      await copy();
      return false;
    } catch (error) {
      if (!isGone(error)) throw error;
      await this.#dreamAgain(branch.id, step);
      await copy();
      return true;
    }
  }

  /** Return what is seen at each of the world's real starting points from `first` to before `end`. */
  async realMoments(world, first, end) {
    const id = newId("look");
    const entries = Array.from({ length: end - first }, (_, i) => first + i);
    try {
      const begun = await Promise.all(entries.map((bank) => this.stream.request("reset",
        { session_id: id, world, seed: 0, temperature: 0, start: { bank }, include: this.sight.include })));
      return begun.map((result, i) => ({ bank: entries[i], frame: this.sight.of(result) }));
    } finally {
      await this.forget(id);
    }
  }

  /** Delete a session that is needed no longer; the server forgets it in time anyway. */
  forget(id) {
    return this.stream.request("delete", { session_id: id }).catch(() => null);
  }

  #hold(history) {
    this.history = history;
    this.sent = history.length < 0 ? 0 : history.length;
  }

  /** Reset a session with the largest rewind window that the server grants. */
  async #reset(id, { world, seed, temperature, start }, include) {
    for (;;) {
      const fields = { session_id: id, rewind_window: WINDOWS[this.#window], include };
      try {
        return await this.stream.request("reset", { ...fields, world, seed, temperature, start });
      } catch (error) {
        const isWindow = ["too_large", "overloaded"].includes(error.code);
        if (!isWindow || !error.message.includes("rewind")) throw error;
        if (++this.#window === WINDOWS.length) throw error;
      }
    }
  }

  async #rewind(id, step) {
    try {
      await this.stream.request("rewind", { session_id: id, to_step: step });
      return false;
    } catch (error) {
      if (!isGone(error) && error.code !== "step_conflict") throw error;
      await this.#dreamAgain(id, step); // it is beyond the window, or the session is gone
      return isGone(error);
    }
  }

  /** Dream the first steps again, in a session of that id. Throws if it is not the same dream. */
  async #dreamAgain(id, steps) {
    await this.#reset(id, this.spec, []);
    const actions = this.history.actions(steps);
    let last = null;
    for (let done = 0; done < steps; done += IN_FLIGHT) {
      const several = actions.slice(done, done + IN_FLIGHT).map((action, i) =>
        this.stream.request("step", { session_id: id, action, step: done + i + 1 }));
      last = (await Promise.all(several)).at(-1);
      this.onProgress(Math.min(steps, done + IN_FLIGHT), steps);
    }
    const expected = this.history.at(steps).latent?.data;
    if (last && expected?.some((number, i) => number !== last.latent.data[i])) {
      throw new Error("The server's world has changed: it dreams another dream now. Begin again.");
    }
  }
}
