// Arrays on the wire are maps {dtype, shape, data}: little-endian numbers in C order.

const TYPES = {
  "<f4": Float32Array, "<f8": Float64Array, "<i8": BigInt64Array, "<i4": Int32Array,
  "<u8": BigUint64Array, "|u1": Uint8Array, "|b1": Uint8Array,
};

/** Return an array as {shape, data}, with `data` a typed array of its own; another map as it is. */
export function reviveArray(map) {
  if (!(map.data instanceof Uint8Array) || !Array.isArray(map.shape)) return map;
  const type = TYPES[map.dtype];
  if (type === undefined) throw new TypeError(`arrays of ${map.dtype} are unknown`);
  const bytes = map.data.slice(); // aligned, and it does not keep the whole message in memory
  return { shape: map.shape, data: new type(bytes.buffer) };
}

/** Return element i of an array's first axis, as an array that shares its memory. */
export function item(array, i) {
  const shape = array.shape.slice(1);
  const size = shape.reduce((product, n) => product * n, 1);
  return { shape, data: array.data.subarray(i * size, (i + 1) * size) };
}
