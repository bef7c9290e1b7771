// The game: one dream that is played, paused, scrubbed and branched; one thing at a time.
//
// Events: "worlds" (they are known), "world" (another one's dream), "begin" (another dream), "moment"
// (a new step), "change" (anything else), "notice" (detail: {kind, text}; no text takes it back).

import { ConnectionLostError, inWords, isGone, isTemporary } from "../wire/errors.js";
import { Dream } from "./dream.js";
import { Controller, Person, Planner, Recording } from "./drivers.js";
import { Loop } from "./loop.js";
import { worldOf } from "./world.js";

const AGAIN_MS = 1000;

export class Game extends EventTarget {
  worlds = [];
  hasController = false; // this and the next two are of the world: see world.js
  bankSize = 0;
  actions = null;
  branches = [];
  viewed = 0; // the step that is shown
  isBusy = false;
  #turn = Promise.resolve();

  constructor(stream, input) {
    super();
    this.stream = stream;
    this.person = new Person(input);
    this.driver = this.person;
    this.dream = new Dream(stream, (step, of) =>
      this.#notice("wait", `Dreaming it again: step ${step} of ${of}`));
    this.loop = new Loop({
      next: () => this.driver.next(this.dream),
      advance: (action) => this.dream.advance(action),
      arrived: (moment) => this.#show(moment),
      finished: () => this.#recordingEnds(),
      failed: (error) => this.#interrupted(error),
    });
  }

  get isPlaying() {
    return this.loop.isRunning;
  }

  get sight() {
    return this.dream.sight;
  }

  get world() {
    return this.worlds.find(({ name }) => name === this.dream.spec?.world) ?? null;
  }

  /** Begin the dream of a link: `actions` are played first. If it cannot be, begin `other`. */
  async open(spec, actions, other) {
    if (!(await this.begin(spec, actions))) await this.begin(other);
  }

  /** Begin a dream. Return whether it could be; if not, it was said why. */
  begin(spec, actions = []) {
    return this.#exclusively(async () => {
      this.worlds = (await this.stream.request("worlds")).worlds; // a new server may have others
      this.dispatchEvent(new Event("worlds"));
      const before = this.dream.spec?.world;
      const name = spec.world ?? this.worlds[0].name;
      const entered = name === before ? null : await worldOf(this.stream, name);
      await this.dream.begin(spec, entered ?? this.dream);
      this.viewed = 0; // at once, as views may be drawn while the next lines wait
      if (entered) this.#enter(entered);
      this.#cast(actions.map((action) => this.actions.parse(action)));
      this.dispatchEvent(new Event("begin"));
    });
  }

  /** Begin again, with changes to what the dream is made from. */
  again(changes = {}) {
    return this.begin({ ...this.dream.spec, ...changes });
  }

  /** Go on from the step that is shown; from the end of a dream, begin it again. */
  play() {
    if (this.isPlaying || !this.dream.spec) return;
    const shown = this.viewed;
    if (this.dream.history.at(shown).terminated) this.again();
    else this.#exclusively(() => this.#resume(shown), true);
  }

  pause() {
    if (!this.isPlaying) return;
    this.loop.stop();
    this.#changed();
  }

  /** Show one step later: a known one, or a new one. */
  forward() {
    if (this.isPlaying) this.pause();
    else if (this.viewed < this.dream.step) this.look(this.viewed + 1);
    else if (!this.dream.hasEnded && !this.isBusy) this.#exclusively(() => this.#step());
  }

  /** Show a step that was taken already. */
  look(step) {
    this.pause();
    this.viewed = Math.min(Math.max(0, step), this.dream.step);
    this.#changed();
  }

  /** Let another driver choose the actions. */
  let(name) {
    const makers = { controller: () => new Controller(), planner: () => new Planner() };
    this.driver = makers[name]?.() ?? this.person;
    this.#changed();
  }

  /** Keep the step that is shown, to come back to it. */
  branch() {
    const [shown, wasPlaying] = [this.viewed, this.isPlaying];
    return this.#exclusively(async () => {
      if (!wasPlaying) await this.#resume(shown);
      this.branches.push(await this.dream.fork());
      this.viewed = this.dream.step;
    }, wasPlaying);
  }

  /** Go on from a branch. */
  jump(branch) {
    return this.#exclusively(async () => {
      const { world } = this.dream.spec;
      this.viewed = branch.history.length; // before the dream becomes as short
      if (await this.dream.become(branch)) this.#noticeLost();
      const now = this.dream.spec.world;
      if (now !== world) this.#enter(await worldOf(this.stream, now));
      this.#cast([]);
    });
  }

  /** Keep a branch no longer. */
  drop(branch) {
    this.branches = this.branches.filter((other) => other !== branch);
    this.dream.forget(branch.id);
    this.#changed();
  }

  /** After a lost connection: see whether the dream is still there, even if nobody plays. */
  reconnected() {
    if (this.isPlaying || this.isBusy || !this.dream.spec) return;
    this.#exclusively(() => this.#returnTo(this.dream.step));
  }

  /** Choose who plays a new dream: a recording, or the one who played before. */
  #cast(recorded) {
    if (recorded.length) this.driver = new Recording(recorded);
    else if (this.driver.name === "recording") this.driver = this.person;
    else if (this.driver.name === "planner") this.driver = new Planner(); // without a plan
  }

  #enter({ actions, hasController, bankSize, sight, signals }) {
    Object.assign(this, { actions, hasController, bankSize });
    Object.assign(this.dream, { sight, signals });
    if (this.driver.name === "controller" && !this.hasController) this.driver = this.person;
    this.dispatchEvent(new Event("world"));
  }

  async #step() {
    if (this.dream.sent !== this.dream.step) await this.#returnTo(this.dream.step);
    const action = await this.driver.next(this.dream);
    if (action === null) this.#recordingEnds();
    else this.#show(await this.dream.advance(action));
  }

  async #resume(shown) {
    if (shown < this.dream.step || this.dream.sent !== this.dream.step) await this.#returnTo(shown);
    this.viewed = this.dream.step;
  }

  async #returnTo(step) {
    if (await this.dream.returnTo(step)) this.#noticeLost();
  }

  /** Run `work` while nothing else runs, as often as the connection needs; then play, if wanted. */
  #exclusively(work, thenPlay = false) {
    const turn = this.#turn.then(async () => {
      await this.loop.stopped();
      this.isBusy = true;
      const isDone = await this.#persistently(work);
      this.isBusy = false;
      if (isDone && thenPlay && !this.dream.hasEnded) this.loop.start();
      this.#changed();
      return isDone;
    });
    this.#turn = turn;
    return turn;
  }

  /** Return whether `work` was done; what went wrong otherwise is told. */
  async #persistently(work) {
    for (;;) {
      try {
        await this.stream.whenOpen();
        await work();
        this.#notice("wait", "");
        return true;
      } catch (error) {
        if (error instanceof ConnectionLostError) continue;
        this.#fail(error);
        if (!isTemporary(error)) return false;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  #show(moment) {
    if (this.viewed === moment.step - 1) this.viewed = moment.step; // unless one looks elsewhere
    this.dispatchEvent(new CustomEvent("moment", { detail: moment }));
    if (!moment.terminated) return;
    this.loop.stop();
    this.#changed();
  }

  /** After a failed step, return to the last one that was seen; play on if the error allows it. */
  #interrupted(error) {
    if (this.dream.hasEnded && error.code === "dream_ended") return;
    const isPassing = error instanceof ConnectionLostError || isGone(error);
    if (!isPassing) this.#fail(error);
    this.#exclusively(() => this.#resume(this.dream.step), isPassing);
  }

  #recordingEnds() {
    this.driver = this.person;
    this.#notice("info", "The recording ends here; from now on you play.");
    this.#changed();
  }

  #fail(error) {
    if (!error.code) console.error(error);
    this.#notice(isTemporary(error) ? "wait" : "error", inWords(error));
  }

  #noticeLost() {
    this.#notice("info",
      "The server no longer had this dream. It was dreamt again from its seed, up to this step.");
  }

  #notice(kind, text) {
    this.dispatchEvent(new CustomEvent("notice", { detail: { kind, text } }));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
