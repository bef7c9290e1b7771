// One dream on the server: a session, and all that is needed to dream it again, which is its world,
// seed, temperature, start and actions.

import { isGone, isRefused, WorldChangedError } from "../wire/errors.js";
import { History } from "./history.js";
import { hesitationOf, surpriseOf } from "./surprise.js";
import { NO_WORLD } from "./world.js";

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
  // The session on the server: "seen", this dream as it was seen here; "earlier", perhaps at an
  // earlier step; "unknown", perhaps another dream, as the answer of what replaces it is missing.
  #session = "seen";
  history = new History();
  id = newId();
  spec = null; // {world, seed, temperature, start}
  world = NO_WORLD; // see world.js
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

  /** Whether the session is at the last step that was seen, so that the next can be taken. */
  get isReady() {
    return this.#session === "seen" && this.sent === this.step;
  }

  /** Begin the dream of `spec` in a world. Rejects with ProblemError or ConnectionLostError. */
  async begin(spec, world) {
    this.#epoch++;
    const begun = await this.#replace(() => this.#reset(this.id, spec, world.sight.include));
    const { seed, temperature, latent } = begun;
    const frame = world.sight.of(begun);
    Object.assign(this, { world, spec: { ...spec, world: begun.world, seed, temperature } });
    this.#hold(new History());
    this.history.add({ step: 0, total: 0, terminated: false, frame, mixture: null, latent });
  }

  /** Take the next step. Return its moment, or null if another dream has begun meanwhile. */
  async advance(action) {
    const epoch = this.#epoch;
    const { sight, signals: named } = this.world;
    const include = [...sight.include, "mixture", ...(named.length ? ["signals"] : [])];
    const fields = { session_id: this.id, action, step: ++this.sent, include };
    const result = await this.stream.request("step", fields);
    if (epoch !== this.#epoch) return null;
    const { step, reward, terminated, mixture, latent, info, signals } = result;
    const moment = {
      step, action, reward, terminated, mixture, latent, signals,
      frame: sight.of(result),
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
    const isOurs = this.#session !== "unknown";
    if (isOurs) this.#session = "earlier";
    const wasGone = isOurs && (await this.#rewind(step));
    if (!isOurs) await this.#dreamAgain(this.id, this, step);
    this.history.truncate(step);
    this.sent = step;
    this.#session = "seen";
    return wasGone;
  }

  /** Return a branch: a copy of the session, with that id, at this step, which has a picture. */
  async fork(id) {
    const { spec, world } = this;
    const fields = { session_id: this.id, session_ids: [id], include: world.sight.include };
    const forked = await this.stream.request("fork", fields);
    this.history.last.frame ??= world.sight.of(forked); // one of long ago was forgotten
    return { id, spec, world, history: this.history.copy() };
  }

  /** Go on from a branch, which stays; until then nothing changes. Return whether the server had
   * lost it. */
  async become(branch) {
    this.#epoch++;
    const copy = () => this.#replace(() =>
      this.stream.request("fork", { session_id: branch.id, session_ids: [this.id] }));
    let wasGone = false;
    try {
      await copy();
    } catch (error) {
      if (!isGone(error)) throw error;
      wasGone = true;
      await this.#dreamAgain(branch.id, branch, branch.history.length);
      await copy();
    }
    Object.assign(this, { spec: branch.spec, world: branch.world });
    this.#hold(branch.history.copy());
    return wasGone;
  }

  /** Return what is seen at each of the world's real starting points from `first` to before `end`. */
  async realMoments({ name: world, sight }, first, end) {
    const id = newId("look");
    const entries = Array.from({ length: end - first }, (_, i) => first + i);
    try {
      const begun = await Promise.all(entries.map((bank) => this.stream.request("reset",
        { session_id: id, world, seed: 0, temperature: 0, start: { bank }, include: sight.include })));
      return begun.map((result, i) => ({ bank: entries[i], frame: sight.of(result) }));
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

  /** Send what replaces the session by another dream's, and return its result. */
  async #replace(request) {
    const before = this.#session;
    this.#session = "unknown";
    try {
      const result = await request();
      this.#session = "seen";
      return result;
    } catch (error) {
      if (isRefused(error)) this.#session = before;
      throw error;
    }
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

  async #rewind(step) {
    try {
      await this.stream.request("rewind", { session_id: this.id, to_step: step });
      return false;
    } catch (error) {
      if (!isGone(error) && error.code !== "step_conflict") throw error;
      await this.#dreamAgain(this.id, this, step); // it is beyond the window, or all is gone
      return isGone(error);
    }
  }

  /** Dream a dream's first steps again, in a session of that id. Throws if it is not the same. */
  async #dreamAgain(id, { spec, world, history }, steps) {
    const { version } = await this.stream.request("world", { name: world.name });
    if (version !== world.version) throw new WorldChangedError();
    let last = await this.#reset(id, spec, []);
    const actions = history.actions(steps);
    for (let done = 0; done < steps; done += IN_FLIGHT) {
      const several = actions.slice(done, done + IN_FLIGHT).map((action, i) =>
        this.stream.request("step", { session_id: id, action, step: done + i + 1 }));
      last = (await Promise.all(several)).at(-1);
      this.onProgress(Math.min(steps, done + IN_FLIGHT), steps);
    }
    const expected = history.at(steps).latent.data;
    const isSame = expected.every((number, i) => number === last.latent.data[i]);
    if (!isSame) throw new WorldChangedError();
  }
}
