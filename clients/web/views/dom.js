// Small helpers for elements and pictures.

export const byId = (id) => document.getElementById(id);

export const lessMotion = matchMedia("(prefers-reduced-motion: reduce)");
export const darkScheme = matchMedia("(prefers-color-scheme: dark)");

/** Return a new element with properties (names with a dash, as `aria-label`, are attributes). */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** Return a canvas that shows a moment, as `paint` does, beside words for it. */
export function picture(frame, sight) {
  const canvas = element("canvas", { className: "picture", "aria-hidden": "true" });
  paint(canvas, frame, sight);
  return canvas;
}

const BARS = 192; // pixels of a picture of numbers, each way

/** Paint a moment of a world's sight: a frame, or its numbers as bars from zero. */
export function paint(canvas, frame, sight) {
  if (sight.isPicture) paintPixels(canvas, frame);
  else paintBars(canvas, frame.data, sight);
}

function paintBars(canvas, data, sight) {
  Object.assign(canvas, { width: BARS, height: BARS });
  const context = canvas.getContext("2d");
  const { accent, quiet } = palette();
  const wide = BARS / data.length;
  const y = (share) => 8 + (1 - Math.min(1, Math.max(0, share))) * (BARS - 16);
  data.forEach((value, i) => {
    const [top, zero] = [y(sight.share(i, value)), y(sight.share(i, 0))];
    context.fillStyle = accent;
    context.fillRect(i * wide + wide / 8, Math.min(top, zero), wide * 0.75,
      Math.max(3, Math.abs(top - zero)));
    context.fillStyle = quiet;
    context.fillRect(i * wide, zero - 1, wide, 2);
  });
}

/** Paint a frame (H, W, C) of bytes, pixel by pixel; CSS enlarges it. */
function paintPixels(canvas, { shape: [height, width, channels], data }) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const isGrey = channels < 3;
  for (let from = 0, to = 0; to < image.data.length; from += channels, to += 4) {
    image.data[to] = data[from];
    image.data[to + 1] = data[isGrey ? from : from + 1];
    image.data[to + 2] = data[isGrey ? from : from + 2];
    image.data[to + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

const sizes = new WeakMap(); // to ask the canvas each time would make the browser lay the page out

/** Call `draw` whenever the chart's canvas has another size. */
export function onResize(canvas, draw) {
  new ResizeObserver(([{ contentRect }]) => {
    sizes.set(canvas, contentRect);
    draw();
  }).observe(canvas);
}

/** Return the context of a chart's canvas, cleared, in CSS pixels, with its size. */
export function chart(canvas) {
  const { width, height } = sizes.get(canvas) ?? canvas.getBoundingClientRect();
  const scale = devicePixelRatio;
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== high) {
    Object.assign(canvas, { width: wide, height: high });
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

let colours = null;
darkScheme.addEventListener("change", () => (colours = null));

/** Return the page's colours, for charts. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ["accent", "line", "quiet", "ink"];
  colours ??= Object.fromEntries(names.map((name) => [name, named(name)]));
  return colours;
}

/** Return a function that calls `work` at most once in `every_ms`, also after the last call. */
export function throttled(work, every_ms) {
  let timer = 0;
  let last = -Infinity;
  const run = () => {
    timer = 0;
    last = performance.now();
    work();
  };
  return () => {
    if (timer) return;
    timer = setTimeout(run, Math.max(0, every_ms - (performance.now() - last)));
  };
}
