// The step that is shown beside what the world expected: the mixture, the surprise, the reward.

import { weightsOf } from "../dream/surprise.js";
import { byId, chart, darkScheme, element, onResize, palette, throttled } from "./dom.js";

const EVERY_MS = 120;

export class Expectation {
  constructor(game) {
    this.game = game;
    this.canvas = byId("mixture");
    const show = throttled(() => this.#show(), EVERY_MS);
    game.addEventListener("moment", show);
    game.addEventListener("change", show);
    darkScheme.addEventListener("change", show);
    onResize(this.canvas, show);
  }

  /** Another world: a figure for each of its signals. */
  entered() {
    for (const old of document.querySelectorAll(".figures .signal")) old.remove();
    document.querySelector(".figures").append(...this.game.world.signals.map((name) =>
      element("div", { className: "signal" }, element("dt", {}, name.replaceAll("_", " ")),
        element("dd", {}, element("span", { id: `signal-${name}` }, "–")))));
  }

  #show() {
    const { dream, viewed, world } = this.game;
    const moment = dream.history.at(viewed);
    const digits = (value, count) => (value === undefined ? "–" : value.toFixed(count));
    byId("reward").textContent = digits(moment?.reward, 2);
    byId("total").textContent = digits(moment?.total, 1);
    byId("surprise").textContent = digits(moment?.surprise, 2);
    byId("end").textContent = moment?.end === undefined ? "–" : percent(moment.end);
    byId("usual").textContent = digits(usualSurprise(dream.history, viewed), 2);
    byId("action").textContent =
      moment?.action === undefined ? "–" : world.actions.describe(moment.action);
    for (const name of world.signals) {
      byId(`signal-${name}`).textContent = digits(moment?.signals?.[name], 2);
    }
    const { context, width, height } = chart(this.canvas);
    if (!moment?.mixture) {
      byId("hesitation").textContent = "–";
      return;
    }
    const weights = weightsOf(moment.mixture);
    byId("mixture-panel").hidden = !weights;
    byId("hesitation").textContent =
      weights ? `${moment.hesitation.toFixed(2)} of ${weights.shape[0]}` : "–";
    if (weights) drawWeights(context, width, height, weights);
  }
}

/** Return a probability in percent; a small one keeps its order of magnitude. */
function percent(probability) {
  const value = 100 * probability;
  return value < 0.01 ? "< 0.01 %" : `${value.toPrecision(value < 1 ? 1 : 2)} %`;
}

/** Return the mean surprise of the hundred steps before a step. */
function usualSurprise(history, viewed) {
  let [sum, count] = [0, 0];
  for (let step = Math.max(1, viewed - 100); step < viewed; step++) {
    sum += history.at(step).surprise ?? NaN;
    count++;
  }
  return count && !isNaN(sum) ? sum / count : undefined;
}

/**
 * Draw a mixture's weights, the largest at the bottom: a stack for each latent dimension, or a
 * single one as bars beside each other.
 */
function drawWeights(context, width, height, { shape, data }) {
  const { accent, ink } = palette();
  const [components, dimensions = 0] = shape;
  if (dimensions === 0) {
    const wide = width / components;
    context.fillStyle = accent;
    data.forEach((weight, k) => {
      const high = Math.max(1, weight * height);
      context.fillRect(k * wide + 1, height - high, wide - 2, high);
    });
    return;
  }
  const wide = width / dimensions;
  const gap = wide > 4 ? 1 : 0;
  for (let z = 0; z < dimensions; z++) {
    const weights = Array.from({ length: components }, (_, k) => data[k * dimensions + z]);
    weights.sort((a, b) => b - a);
    let top = height;
    weights.forEach((weight, rank) => {
      const high = weight * height;
      context.fillStyle = rank === 0 ? accent : ink;
      context.globalAlpha = rank === 0 ? 1 : 0.45 / rank;
      context.fillRect(z * wide, top - high, wide - gap, Math.max(0, high - 0.5));
      top -= high;
    });
  }
  context.globalAlpha = 1;
}
