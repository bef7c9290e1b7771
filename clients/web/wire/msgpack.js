// msgpack, as far as the stream uses it: null, booleans, numbers, strings, binary, arrays and maps,
// without extension types. The specification: msgpack/spec.md of github.com/msgpack/msgpack.

const utf8 = { encoder: new TextEncoder(), decoder: new TextDecoder() };
const FIRST_BYTES = 1024;

/** Return a value as msgpack, a Uint8Array. Throws TypeError for a value that has no such form. */
export function encode(value) {
  const writer = new Writer();
  writer.write(value);
  return writer.bytes.subarray(0, writer.length);
}

/**
 * Return the value in `bytes`. Each map goes through `revive`, which may replace it.
 * Throws RangeError for truncated bytes and TypeError for an unknown type.
 */
export function decode(bytes, revive = (map) => map) {
  return new Reader(bytes, revive).read();
}

class Writer {
  bytes = new Uint8Array(FIRST_BYTES);
  length = 0;

  write(value) {
    if (value === null) this.#byte(0xc0);
    else if (typeof value === "boolean") this.#byte(value ? 0xc3 : 0xc2);
    else if (typeof value === "number") this.#number(value);
    else if (typeof value === "string") this.#string(value);
    else if (value instanceof Uint8Array) this.#binary(value);
    else if (Array.isArray(value)) this.#array(value);
    else if (Object.getPrototypeOf(value) === Object.prototype) this.#map(value);
    else throw new TypeError(`no msgpack form: ${Object.prototype.toString.call(value)}`);
  }

  #array(items) {
    this.#head(items.length, 0x90, 15, [null, 0xdc, 0xdd]);
    items.forEach((item) => this.write(item));
  }

  #map(map) {
    const entries = Object.entries(map).filter(([, value]) => value !== undefined);
    this.#head(entries.length, 0x80, 15, [null, 0xde, 0xdf]);
    entries.forEach(([key, value]) => (this.#string(key), this.write(value)));
  }

  #string(text) {
    const raw = utf8.encoder.encode(text);
    this.#head(raw.length, 0xa0, 31, [0xd9, 0xda, 0xdb]);
    this.#raw(raw);
  }

  #binary(raw) {
    this.#head(raw.length, null, -1, [0xc4, 0xc5, 0xc6]);
    this.#raw(raw);
  }

  #number(value) {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      this.#view(9).setFloat64(1, value);
      this.bytes[this.length - 9] = 0xcb;
    } else if (value >= 0 && value < 128) this.#byte(value);
    else if (value < 0 && value >= -32) this.#byte(value & 0xff);
    else {
      this.#view(9).setBigInt64(1, BigInt(value));
      this.bytes[this.length - 9] = 0xd3;
    }
  }

  /** Write a size, in the first byte if it is at most `most`, else behind one of `wide`. */
  #head(size, fixed, most, wide) {
    if (size <= most) this.#byte(fixed | size);
    else if (size < 0x100 && wide[0] !== null) this.#sized(wide[0], 1, size);
    else if (size < 0x10000) this.#sized(wide[1], 2, size);
    else this.#sized(wide[2], 4, size);
  }

  #sized(type, width, size) {
    this.#byte(type);
    for (let shift = 8 * (width - 1); shift >= 0; shift -= 8) this.#byte((size >>> shift) & 0xff);
  }

  #byte(byte) {
    this.#room(1);
    this.bytes[this.length++] = byte;
  }

  #raw(raw) {
    this.#room(raw.length);
    this.bytes.set(raw, this.length);
    this.length += raw.length;
  }

  #view(size) {
    this.#room(size);
    this.length += size;
    return new DataView(this.bytes.buffer, this.length - size, size);
  }

  #room(size) {
    if (this.length + size <= this.bytes.length) return;
    const larger = new Uint8Array(2 * (this.length + size));
    larger.set(this.bytes);
    this.bytes = larger;
  }
}

class Reader {
  #at = 0;

  constructor(bytes, revive) {
    this.bytes = bytes;
    this.revive = revive;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  read() {
    const type = this.view.getUint8(this.#skip(1));
    if (type < 0x80) return type;
    if (type < 0x90) return this.#map(type & 0x0f);
    if (type < 0xa0) return this.#array(type & 0x0f);
    if (type < 0xc0) return this.#string(type & 0x1f);
    if (type >= 0xe0) return type - 0x100;
    const read = READ[type];
    if (read === undefined) throw new TypeError(`msgpack type 0x${type.toString(16)} is unknown`);
    return read(this);
  }

  number(size, method) {
    return Number(this.view[method](this.#skip(size)));
  }

  sized(width, kind) {
    const size = this.number(width, { 1: "getUint8", 2: "getUint16", 4: "getUint32" }[width]);
    return { string: () => this.#string(size), binary: () => this.#binary(size),
      array: () => this.#array(size), map: () => this.#map(size) }[kind]();
  }

  #string(size) {
    return utf8.decoder.decode(this.#binary(size));
  }

  #binary(size) {
    const from = this.#skip(size);
    if (this.#at > this.bytes.length) throw new RangeError("the message is truncated");
    return this.bytes.subarray(from, this.#at);
  }

  #array(size) {
    return Array.from({ length: size }, () => this.read());
  }

  #map(size) {
    const map = {};
    for (let i = 0; i < size; i++) map[this.read()] = this.read();
    return this.revive(map);
  }

  #skip(size) {
    this.#at += size;
    return this.#at - size;
  }
}

const READ = {
  0xc0: () => null, 0xc2: () => false, 0xc3: () => true,
  0xc4: (r) => r.sized(1, "binary"), 0xc5: (r) => r.sized(2, "binary"),
  0xc6: (r) => r.sized(4, "binary"),
  0xca: (r) => r.number(4, "getFloat32"), 0xcb: (r) => r.number(8, "getFloat64"),
  0xcc: (r) => r.number(1, "getUint8"), 0xcd: (r) => r.number(2, "getUint16"),
  0xce: (r) => r.number(4, "getUint32"), 0xcf: (r) => r.number(8, "getBigUint64"),
  0xd0: (r) => r.number(1, "getInt8"), 0xd1: (r) => r.number(2, "getInt16"),
  0xd2: (r) => r.number(4, "getInt32"), 0xd3: (r) => r.number(8, "getBigInt64"),
  0xd9: (r) => r.sized(1, "string"), 0xda: (r) => r.sized(2, "string"),
  0xdb: (r) => r.sized(4, "string"),
  0xdc: (r) => r.sized(2, "array"), 0xdd: (r) => r.sized(4, "array"),
  0xde: (r) => r.sized(2, "map"), 0xdf: (r) => r.sized(4, "map"),
};
