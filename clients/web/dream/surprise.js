// How unlikely a latent was under the mixture that predicted it, and how undecided the mixture is.

const HALF_LOG_2PI = 0.5 * Math.log(2 * Math.PI);

const logNormal = (x, mu, sigma) => -0.5 * ((x - mu) / sigma) ** 2 - Math.log(sigma) - HALF_LOG_2PI;

function logSumExp(values) {
  const most = Math.max(...values);
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

/** Whether each number has alternatives of its own: weights (K, n) instead of (K,). */
const isPerDimension = (weights) => weights.shape.length === 2;

/**
 * Return the weights of a prediction's alternatives, (K,), or (K, n) where each of n numbers or
 * groups has its own; null if it has none.
 */
export function weightsOf({ weights, probabilities }) {
  if (!probabilities) return weights ?? null;
  const [groups, classes] = probabilities.shape;
  const data = Float32Array.from({ length: groups * classes }, (_, at) =>
    probabilities.data[(at % groups) * classes + Math.floor(at / groups)]);
  return { shape: [classes, groups], data };
}

/**
 * Return `surprise` of /step for a drawn `latent` (Z,). Of a mixture, weights (K,) or (K, Z),
 * mu (K, Z), sigma (K, Z) or (K,): the negative log-likelihood, in nats per latent dimension. Of
 * probabilities (groups, classes): that of the classes, in nats per group. Else there is none.
 */
export function surpriseOf(latent, mixture) {
  if (mixture.probabilities) {
    const [groups] = mixture.probabilities.shape;
    const logs = mixture.probabilities.data.map((share, at) => latent.data[at] && Math.log(share));
    return -sumOf(logs) / groups;
  }
  if (!mixture.weights) return undefined;
  const { weights, mu, sigma } = mixture;
  const [components, size] = mu.shape;
  const sigmaAt = (k, z) => sigma.data[sigma.shape.length === 1 ? k : k * size + z];
  const logOf = (k, z) => logNormal(latent.data[z], mu.data[k * size + z], sigmaAt(k, z));
  const dimensions = [...Array(size).keys()];
  const all = [...Array(components).keys()];
  if (isPerDimension(weights)) {
    const logs = dimensions.map((z) =>
      logSumExp(all.map((k) => Math.log(weights.data[k * size + z]) + logOf(k, z))));
    return -sumOf(logs) / size;
  }
  return -logSumExp(all.map((k) =>
    Math.log(weights.data[k]) + sumOf(dimensions.map((z) => logOf(k, z))))) / size;
}

/**
 * Return how many components the mixture hesitates between: the exponential of the entropy of its
 * weights (of the mean entropy, per dimension), from 1 to K.
 */
export function hesitationOf(mixture) {
  const weights = weightsOf(mixture);
  if (!weights) return undefined;
  const { data } = weights;
  const mixtures = isPerDimension(weights) ? weights.shape[1] : 1;
  let entropy = 0;
  for (const weight of data) entropy -= weight > 0 ? weight * Math.log(weight) : 0;
  return Math.exp(entropy / mixtures);
}

const sumOf = (values) => values.reduce((sum, value) => sum + value, 0);
