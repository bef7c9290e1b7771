// How unlikely a latent was under the mixture that predicted it, and how undecided the mixture is.

const HALF_LOG_2PI = 0.5 * Math.log(2 * Math.PI);

const logNormal = (x, mu, sigma) => -0.5 * ((x - mu) / sigma) ** 2 - Math.log(sigma) - HALF_LOG_2PI;

function logSumExp(values) {
  const most = Math.max(...values);
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

/** Whether each latent dimension has a mixture of its own: weights (K, Z) instead of (K,). */
const isPerDimension = (mixture) => mixture.weights.shape.length === 2;

/**
 * Return the negative log-likelihood of `latent` (Z,), in nats per latent dimension, as `surprise`
 * of /step: weights (K,) or (K, Z), mu (K, Z), sigma (K, Z) or (K,).
 */
export function surpriseOf(latent, mixture) {
  const { weights, mu, sigma } = mixture;
  const [components, size] = mu.shape;
  const sigmaAt = (k, z) => sigma.data[sigma.shape.length === 1 ? k : k * size + z];
  const logOf = (k, z) => logNormal(latent.data[z], mu.data[k * size + z], sigmaAt(k, z));
  const dimensions = [...Array(size).keys()];
  const all = [...Array(components).keys()];
  if (isPerDimension(mixture)) {
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
  const { data } = mixture.weights;
  const mixtures = isPerDimension(mixture) ? mixture.weights.shape[1] : 1;
  let entropy = 0;
  for (const weight of data) entropy -= weight > 0 ? weight * Math.log(weight) : 0;
  return Math.exp(entropy / mixtures);
}

const sumOf = (values) => values.reduce((sum, value) => sum + value, 0);
