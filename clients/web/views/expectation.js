// The step that is shown beside what the world expected: the mixture, the surprise, the reward.

import { byId, chart, darkScheme, onResize, palette, throttled } from "./dom.js";

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

  #show() {
    const { dream, viewed } = this.game;
    const moment = dream.history.at(viewed);
    const digits = (value, count) => (value === undefined ? "–" : value.toFixed(count));
    byId("reward").textContent = digits(moment?.reward, 2);
    byId("total").textContent = digits(moment?.total, 1);
    byId("surprise").textContent = digits(moment?.surprise, 2);
    byId("end").textContent = moment?.end === undefined ? "–" : percent(moment.end);
    byId("usual").textContent = digits(usualSurprise(dream.history, viewed), 2);
    byId("action").textContent =
      moment?.action === undefined ? "–" : this.game.actions.describe(moment.action);
    const { context, width, height } = chart(this.canvas);
    if (!moment?.mixture) {
      byId("hesitation").textContent = "–";
      return;
    }
    const components = moment.mixture.mu.shape[0];
    byId("hesitation").textContent = `${moment.hesitation.toFixed(2)} of ${components}`;
    drawWeights(context, width, height, moment.mixture.weights);
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
    sum += history.at(step).surprise;
    count++;
  }
  return count ? sum / count : undefined;
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
