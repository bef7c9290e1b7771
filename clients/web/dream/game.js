// The game: one dream that is played, paused, scrubbed and branched; one thing at a time.
//
// Events: "worlds" (they are known), "world" (another one's dream), "begin" (another dream, or one
// goes on from a branch), "moment" (a new step), "change" (anything else), "notice" (detail: {kind,
// text}; no text takes it back).

import { ConnectionLostError, inWords, isGone, isTemporary, isTooMuch, kindOf }
  from "../wire/errors.js";
import { Dream, newId } from "./dream.js";
import { Controller, Person, Planner, Recording } from "./drivers.js";
import { Loop } from "./loop.js";
import { Turns } from "./turns.js";
import { worldOf } from "./world.js";

const LOST =
  "The server no longer had this dream. It was dreamt again from its seed, up to this step.";

export class Game extends EventTarget {
  worlds = [];
  branches = [];
  viewed = 0; // the step that is shown
  isBusy = false;

  constructor(stream, input) {
    super();
    this.stream = stream;
    this.person = new Person(input);
    this.driver = this.person;
    this.dream = new Dream(stream, (step, of) =>
      this.#notice("wait", `Dreaming it again: step ${step} of ${of}`));
    this.turns = new Turns(() => stream.whenOpen(), (error) => this.#fail(error));
    this.loop = new Loop({
      next: () => this.driver.next(this.dream),
      advance: (action) => this.dream.advance(action),
      arrived: (moment) => this.#show(moment),
      finished: () => this.#recordingEnds(),
      failed: (error, wasPlaying) => this.#interrupted(error, wasPlaying),
    });
  }

  get isPlaying() {
    return this.loop.isRunning;
  }

  get world() {
    return this.dream.world;
  }

  get sight() {
    return this.world.sight;
  }

  /** Begin the dream of a link: `actions` are played first. If it cannot be, begin `other`. */
  async open(spec, actions, other) {
    if ((await this.begin(spec, actions)) === false) await this.begin(other);
  }

  /** Begin a dream. Return whether it could be, or null if another was asked for; why is said. */
  begin(spec, actions = []) {
    return this.#exclusively(async () => {
      this.worlds = (await this.stream.request("worlds")).worlds; // a new server may have others
      this.dispatchEvent(new Event("worlds"));
      const name = spec.world ?? this.worlds[0].name;
      const version = this.worlds.find((one) => one.name === name)?.version; // or other versions
      const before = this.world;
      const isSame = name === before.name && version === before.version;
      const world = isSame ? before : await worldOf(this.stream, name);
      await this.dream.begin({ ...spec, world: name }, world);
      this.viewed = 0;
      this.#enter(before);
      this.#cast(actions.map((action) => this.world.actions.parse(action)));
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

  /** Keep the step that is shown, to come back to it. Without room for it the dream goes on. */
  async branch() {
    const [shown, wasPlaying, id] = [this.viewed, this.isPlaying, newId("branch")];
    const isKept = await this.#exclusively(async () => {
      if (!wasPlaying) await this.#resume(shown);
      this.branches.push(await this.dream.fork(id));
      this.viewed = this.dream.step;
    }, wasPlaying, { optional: true });
    if (!isKept) this.dream.forget(id); // its answer may have been lost
  }

  /** Go on from a branch. */
  jump(branch) {
    return this.#exclusively(async () => {
      const before = this.world;
      const wasGone = await this.dream.become(branch);
      this.viewed = this.dream.step;
      if (wasGone) this.#notice("info", LOST);
      this.#enter(before);
      this.#cast([]);
      this.dispatchEvent(new Event("begin"));
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

  /** Show the dream's world, if it is another one. */
  #enter(before) {
    if (this.world === before) return;
    if (this.driver.name === "controller" && !this.world.hasController) this.driver = this.person;
    this.dispatchEvent(new Event("world"));
  }

  async #step() {
    if (!this.dream.isReady) await this.#returnTo(this.dream.step);
    const action = await this.driver.next(this.dream);
    if (action === null) this.#recordingEnds();
    else this.#show(await this.dream.advance(action));
  }

  async #resume(shown) {
    if (shown < this.dream.step || !this.dream.isReady) await this.#returnTo(shown);
    this.viewed = this.dream.step;
  }

  async #returnTo(step) {
    if (await this.dream.returnTo(step)) this.#notice("info", LOST);
  }

  /** Run `work` while nothing else runs, as Turns does with `options`; then play, if wanted. Return
   * whether it was done, or null if it gave way; what went wrong is told. */
  #exclusively(work, thenPlay = false, options = {}) {
    return this.turns.take(async () => {
      await this.loop.stopped();
      this.isBusy = true;
      let isDone = false;
      try {
        isDone = await this.turns.persist(work, options);
      } catch (error) {
        this.#fail(error, "error");
      }
      this.isBusy = false;
      this.#notice("wait", "");
      if (thenPlay && (isDone || options.optional) && !this.dream.hasEnded) this.#goOn();
      this.#changed();
      return isDone;
    });
  }

  /** Play from the last step that was seen. */
  #goOn() {
    if (this.dream.isReady) this.loop.start();
    else this.#exclusively(() => this.#resume(this.dream.step), true); // steps in flight failed
  }

  #show(moment) {
    if (this.viewed === moment.step - 1) this.viewed = moment.step; // unless one looks elsewhere
    this.dispatchEvent(new CustomEvent("moment", { detail: moment }));
    if (!moment.terminated) return;
    this.loop.stop();
    this.#changed();
  }

  /** After a failed step, return to the last one that was seen; play on if the error allows it. */
  #interrupted(error, wasPlaying) {
    if (this.dream.hasEnded && error.code === "dream_ended") return;
    const refused = isTemporary(error) ? error : null;
    const isPassing = refused || error instanceof ConnectionLostError || isGone(error);
    if (!isPassing) this.#fail(error);
    if (!wasPlaying) return; // what is done next returns to that step
    if (isTooMuch(error)) {
      const rate = Math.round(this.loop.clock.slowDown());
      this.#notice("info", `${kindOf(error)}: the dream goes on with ${rate} steps a second.`);
    }
    this.#exclusively(() => this.#resume(this.dream.step), Boolean(isPassing), { refused });
  }

  #recordingEnds() {
    this.driver = this.person;
    this.#notice("info", "The recording ends here; from now on you play.");
    this.#changed();
  }

  #fail(error, kind = isTemporary(error) ? "wait" : "error") {
    if (!error.code) console.error(error);
    this.#notice(kind, inWords(error));
  }

  #notice(kind, text) {
    this.dispatchEvent(new CustomEvent("notice", { detail: { kind, text } }));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
