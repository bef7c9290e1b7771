// The timeline: how surprising each step was, the branches, and a slider to go back.

import { byId, chart, darkScheme, onResize, palette, throttled } from "./dom.js";

const EVERY_MS = 100;
const SHORTEST = 70; // steps that the timeline has room for from the beginning
const BAR_PX = 3;

export class Timeline {
  constructor(game) {
    this.game = game;
    this.slider = byId("timeline");
    this.canvas = byId("history");
    this.slider.addEventListener("input", () => game.look(Number(this.slider.value)));
    const show = throttled(() => this.#show(), EVERY_MS);
    game.addEventListener("moment", show);
    game.addEventListener("change", show);
    darkScheme.addEventListener("change", show);
    onResize(this.canvas, show);
  }

  #show() {
    const { viewed, dream } = this.game;
    const last = Math.max(dream.step, 0);
    this.slider.max = Math.max(last, SHORTEST);
    this.slider.value = viewed;
    this.slider.disabled = last === 0;
    const said = last === 0 ? "no step yet" : `step ${viewed} of ${last}`;
    this.slider.setAttribute("aria-valuetext", said);
    this.#chart(viewed, Math.max(last, SHORTEST));
  }

  #chart(viewed, steps) {
    const { context, width, height } = chart(this.canvas);
    const { accent, quiet, line } = palette();
    const each = Math.max(1, Math.ceil((steps * BAR_PX) / Math.max(width, 1)));
    const bars = surprises(this.game.dream.history, each);
    const [least, most] = [Math.min(...bars, 0.5), Math.max(...bars, 1.5)];
    const x = (step) => (step / steps) * width;
    bars.forEach((value, i) => {
      const high = 2 + (height - 4) * ((value - least) / (most - least));
      context.fillStyle = i * each < viewed ? accent : line;
      context.fillRect(x(i * each), height - high, Math.max(1, x(each) - 1), high);
    });
    context.fillStyle = quiet;
    for (const { history, spec } of this.game.branches) {
      const isOfThis = spec === this.game.dream.spec && history.length <= steps;
      if (isOfThis) context.fillRect(x(history.length) - 1, 0, 2, height);
    }
  }
}

/** Return the largest surprise within each stretch of `each` steps of a dream. */
function surprises(history, each) {
  const bars = [];
  for (let first = 1; first <= history.length; first += each) {
    let most = -Infinity;
    for (let step = first; step < first + each && step <= history.length; step++) {
      most = Math.max(most, history.at(step).surprise ?? 0);
    }
    bars.push(most);
  }
  return bars;
}
