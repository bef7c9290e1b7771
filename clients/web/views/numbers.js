// Numbers in place of a picture: a row for each, with its name, its last steps, and its value.

import { byId, chart, darkScheme, element, palette, throttled } from "./dom.js";

const MOST_ROWS = 24; // with more numbers, bars are clearer
const STEPS = 120; // that a trace shows
const EVERY_MS = 50;

export class Numbers {
  #rows = []; // {canvas, output}

  constructor(game) {
    this.game = game;
    this.list = byId("numbers");
    const show = throttled(() => this.#show(), EVERY_MS);
    game.addEventListener("moment", show);
    game.addEventListener("change", show);
    darkScheme.addEventListener("change", show);
    addEventListener("resize", show);
  }

  /** Another world: rows for its numbers, or none for pictures and for many numbers. */
  entered() {
    const { names } = this.game.sight;
    const shown = names.length <= MOST_ROWS ? names : [];
    this.#rows = shown.map((name) => ({ name, canvas: element("canvas", { "aria-hidden": "true" }),
      output: element("output", { "aria-label": name }) }));
    this.list.replaceChildren(...this.#rows.map(({ name, canvas, output }) =>
      element("li", {}, element("span", { title: name }, name), canvas, output)));
    this.list.classList.toggle("dense", shown.length > 8);
    this.list.hidden = shown.length === 0;
    byId("screen").hidden = shown.length > 0;
  }

  #show() {
    const { dream, viewed, sight } = this.game;
    const moment = dream.history.at(viewed);
    if (!moment?.frame) return;
    this.#rows.forEach(({ canvas, output }, i) => {
      output.textContent = readable(moment.frame.data[i]);
      const first = Math.max(0, viewed - STEPS + 1);
      const values = [];
      for (let step = first; step <= viewed; step++) {
        values.push(dream.history.at(step).frame?.data[i]);
      }
      trace(chart(canvas), values.map((value) => sight.share(i, value)));
    });
  }
}

/** Return a number with four digits, in the same width whatever its sign. */
function readable(value) {
  const size = Math.abs(value);
  return size >= 1e5 || (size > 0 && size < 1e-3) ? value.toExponential(1) : value.toPrecision(4);
}

/** Draw shares of the height, the last one at the right, as a line with a dot at its end. */
function trace({ context, width, height }, shares) {
  const { accent, line } = palette();
  const [inset, each] = [4, (width - 8) / (STEPS - 1)];
  const y = (share) => inset + (1 - share) * (height - 2 * inset);
  context.fillStyle = line;
  context.fillRect(0, height - 1, width, 1);
  context.strokeStyle = context.fillStyle = accent;
  context.lineWidth = 1.5;
  context.beginPath();
  shares.forEach((share, at) => context.lineTo(inset + at * each, y(share)));
  context.stroke();
  context.beginPath();
  context.arc(inset + (shares.length - 1) * each, y(shares.at(-1)), 3, 0, 2 * Math.PI);
  context.fill();
}
