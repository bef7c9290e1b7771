// Who chooses the next action. `next(dream)` returns it, or null when there is none left.

const PLAN = { horizon: 12, action_repeat: 4, candidates: 48, iterations: 4, budget_ms: 150 };

/** A person, by keys, buttons and sliders. */
export class Person {
  name = "person";

  constructor(input) {
    this.input = input;
  }

  next() {
    return this.input.action();
  }
}

/** Whether a world's bundle has a controller: a linear one, or a graph. */
export const hasController = (manifest) => Boolean(manifest.controller || manifest.has_policy);

/** The bundle's controller: one step of an episode that begins where the session is. */
export class Controller {
  name = "controller";

  async next(dream) {
    const { actions } = await dream.stream.request("rollout", {
      session_id: dream.id, policy: "bundled", episodes: 1, max_steps: 1, include: ["trajectories"],
    });
    return plainAction(actions, 3, 0);
  }
}

/**
 * The planner, with a receding horizon: it plans all the time, and meanwhile the dream goes on with
 * the last plan. A plan's actions are each held for some steps, as /plan counts them.
 */
export class Planner {
  name = "planner";
  #plan = null; // {from, actions, value}
  #search = null;
  #failure = null;

  async next(dream) {
    this.#search ??= this.#look(dream);
    if (!this.#covers(dream.sent)) await this.#search;
    if (this.#failure !== null) throw this.#failure;
    const { from, actions } = this.#plan;
    return plainAction(actions, 1, Math.min(heldFor(dream.sent) - heldFor(from), PLAN.horizon - 1));
  }

  #covers(step) {
    return this.#plan !== null && step >= this.#plan.from &&
      heldFor(step) - heldFor(this.#plan.from) < PLAN.horizon;
  }

  /** Search from the session as it will be when the server reads this. */
  async #look(dream) {
    const from = dream.sent;
    this.#failure = null;
    try {
      const { actions } = await dream.stream.request("plan", { session_id: dream.id, ...PLAN });
      this.#plan = { from, actions };
    } catch (error) {
      // The last step may have ended the dream, which its own answer tells.
      if (error.code !== "dream_ended" || this.#plan === null) this.#failure = error;
    }
    this.#search = null;
  }
}

/** Actions that somebody took before. */
export class Recording {
  name = "recording";

  constructor(actions) {
    this.actions = actions;
  }

  next(dream) {
    return this.actions[dream.sent] ?? null;
  }
}

const heldFor = (step) => Math.floor(step / PLAN.action_repeat);

/** Return action i behind `leading` axes of an array of actions, as a number or a list. */
function plainAction({ shape, data }, leading, i) {
  if (shape.length === leading) return Number(data[i]);
  const width = shape.at(-1);
  return Array.from(data.subarray(i * width, (i + 1) * width), Number);
}
