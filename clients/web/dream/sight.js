// What a world shows of a dream: frames, vectors of named numbers, or, without a decoder, latents.

/** Return what a world with this manifest shows. */
export function sightOf({ observation, has_decode: decodes = true, latent_size: size }) {
  if (!decodes) return new Sight("latent", Array.from({ length: size }, (_, i) => `latent ${i}`));
  if (observation?.kind !== "vector") return new Sight("frame");
  return new Sight("vector", observation.names, observation.low, observation.high);
}

/** One moment of it is an array {shape, data}: (H, W, C) of a frame, else (n,). */
export class Sight {
  #low;
  #high;

  /** `kind` is the name of one in results; the bounds of its numbers are null where unknown. */
  constructor(kind, names = [], low = [], high = []) {
    this.kind = kind;
    this.names = names;
    this.#low = names.map((_, i) => low[i] ?? Infinity);
    this.#high = names.map((_, i) => high[i] ?? -Infinity);
  }

  get isPicture() {
    return this.kind === "frame";
  }

  /** What it takes to be shown one moment by /reset and /step, and many by /sample. */
  get include() {
    return this.kind === "latent" ? [] : [this.kind];
  }

  get includeMany() {
    return this.include.map((kind) => `${kind}s`);
  }

  /** Return what a result shows. */
  of(result) {
    return this.#seen(result[this.kind]);
  }

  /** Return what a result of many moments shows, with all their axes first. */
  all(result) {
    return this.#seen(result[`${this.kind}s`]);
  }

  /** Return where a number lies between the least and the largest that were seen, 0 to 1. */
  share(i, value) {
    const [low, high] = [this.#low[i], this.#high[i]];
    return high > low ? (value - low) / (high - low) : 0.5;
  }

  #seen(array) {
    const count = this.names.length;
    if (count > 0) array.data.forEach((value, at) => this.#widen(at % count, value));
    return array;
  }

  #widen(i, value) {
    if (value < this.#low[i]) this.#low[i] = value;
    if (value > this.#high[i]) this.#high[i] = value;
  }
}
