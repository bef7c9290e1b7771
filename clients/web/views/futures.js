// Possible futures from the present step: moving pictures, and how many of them end.

import { byId, element, lessMotion, paint } from "./dom.js";
import { item } from "../wire/arrays.js";
import { ConnectionLostError, inWords } from "../wire/errors.js";

const PICTURES = { futures: 5, playing: 12, paused: 30 }; // horizons in steps
const ENDS = { futures: 24, horizon: 35 };
const EVERY_MS = 1500; // while the dream is played
const FRAME_MS = 100;

export class Futures {
  #isAsking = false;
  #isVisible = false;
  #asked = ""; // the state that was asked for last
  #films = []; // {figure, frames (H, height, width, C), end: the frame that it ends with}
  #frame = 0;
  #askedMs = 0;

  constructor(game) {
    this.game = game;
    this.policy = byId("futures-policy");
    this.policy.addEventListener("change", () => this.#look());
    new IntersectionObserver((seen) => {
      this.#isVisible = seen.at(-1).isIntersecting;
      this.#look();
    }).observe(byId("futures"));
    game.addEventListener("change", () => this.#look());
    game.addEventListener("begin", () => (this.#asked = "")); // another dream at the same step
    setInterval(() => this.#look(), 250);
    setInterval(() => this.#play(), FRAME_MS);
  }

  /** Another world: its controller may be missing. */
  entered() {
    this.#films = []; // of a world that may show otherwise
    byId("futures").replaceChildren();
    this.policy.querySelector("[value=bundled]").disabled = !this.game.world.hasController;
    if (!this.game.world.hasController) this.policy.value = "hold";
  }

  /** Ask, if there is something new to ask about and the last answer is there. */
  async #look() {
    const { game } = this;
    const { dream, isPlaying } = game;
    if (!this.#isVisible || this.#isAsking || !dream.spec || !game.stream.isOpen) return;
    if (document.hidden || game.isBusy || dream.hasEnded || game.viewed !== dream.step) return;
    const asked = [dream.id, dream.step, dream.spec.seed, dream.spec.temperature,
      dream.spec.start?.bank, this.policy.value, isPlaying].join();
    if (asked === this.#asked) return;
    if (isPlaying && performance.now() - this.#askedMs < EVERY_MS) return;
    this.#isAsking = true;
    this.#asked = asked;
    try {
      await this.#ask(dream, isPlaying ? PICTURES.playing : PICTURES.paused, asked);
      byId("futures-error").textContent = "";
    } catch (error) {
      const isOver = error instanceof ConnectionLostError || error.code === "dream_ended";
      if (!isOver && error.code !== "session_not_found") {
        byId("futures-error").textContent = inWords(error);
      }
    }
    this.#askedMs = performance.now();
    this.#isAsking = false;
  }

  async #ask(dream, horizon, asked) {
    const common = { session_id: dream.id, policy: this.#policy() };
    const [pictures, ends] = await Promise.all([
      dream.stream.request("sample", {
        ...common, futures: PICTURES.futures, horizon, include: [...this.game.sight.includeMany, "most_likely"],
      }),
      dream.stream.request("sample", { ...common, ...ENDS }),
    ]);
    if (asked !== this.#asked) return; // another dream has begun, maybe in another world
    this.#showPictures(pictures, horizon);
    this.#showEnds(ends);
  }

  #policy() {
    if (this.policy.value !== "hold") return this.policy.value;
    const last = this.game.dream.history.last.action;
    return { kind: "constant", action: last ?? this.game.world.actions.whenPressed([]) };
  }

  #showPictures(sample, horizon) {
    const { sight } = this.game;
    const all = sight.all(sample);
    const films = [
      { frames: sight.all(sample.most_likely), terminated: sample.most_likely.terminated.data },
      ...Array.from({ length: PICTURES.futures }, (_, n) => ({
        frames: item(all, n), terminated: item(sample.terminated, n).data,
      })),
    ];
    if (this.#films.length !== films.length) {
      byId("futures").replaceChildren(...films.map(() => emptyFigure()));
    }
    this.#films = films.map(({ frames, terminated }, n) => {
      const figure = byId("futures").children[n];
      const end = terminated.indexOf(1);
      const name = n === 0 ? "most likely" : `future ${n}`;
      const ends = end < 0 ? "" : `ends in ${end + 1}`;
      figure.querySelector("figcaption").textContent = name;
      figure.querySelector("b").textContent = ends;
      figure.querySelector("canvas").setAttribute("aria-label",
        `${name}, the next ${horizon} steps${ends && ", "}${ends}`);
      return { figure, frames, end: end < 0 ? Infinity : end };
    });
    this.#frame = lessMotion.matches ? horizon - 1 : 0;
    this.#paint();
  }

  #showEnds({ terminated }) {
    const [futures, horizon] = terminated.shape;
    let ended = 0;
    for (let n = 0; n < futures; n++) ended += terminated.data[(n + 1) * horizon - 1];
    byId("ends").value = ended / futures;
    byId("ends-text").textContent = `${ended} of ${futures} end within ${horizon} steps`;
  }

  #play() {
    const isSeen = this.#isVisible && !document.hidden && this.#films.length > 0;
    if (!isSeen || lessMotion.matches) return;
    // A pause of a few frames at the end, then from the beginning.
    this.#frame = (this.#frame + 1) % (this.#films[0].frames.shape[0] + 6);
    this.#paint();
  }

  #paint() {
    for (const { figure, frames, end } of this.#films) {
      const frame = Math.min(this.#frame, frames.shape[0] - 1);
      figure.classList.toggle("over", frame >= end);
      paint(figure.querySelector("canvas"), item(frames, frame), this.game.sight);
    }
  }
}

function emptyFigure() {
  return element("figure", {},
    element("canvas", { className: "picture", role: "img" }), element("b"), element("figcaption"));
}
