// One WebSocket to /stream that comes back by itself. Requests are answered through promises.

import { reviveArray } from "./arrays.js";
import { ConnectionLostError, ProblemError } from "./errors.js";
import { subprotocols } from "./key.js";
import { decode, encode } from "./msgpack.js";

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 4000;
const SILENCE_MS = 15_000; // with a request in progress; then the connection counts as dead

/**
 * `onState(isOpen, waitMs)` is called when the connection opens or is lost; `waitMs` is the time
 * until the next attempt.
 */
export class Stream {
  #socket = null;
  #pending = new Map(); // id → {resolve, reject}
  #nextId = 1;
  #attempts = 0;
  #timer = 0;
  #heardMs = 0;
  #waiting = []; // of whenOpen
  isOpen = false;

  constructor(url, onState) {
    this.url = url;
    this.onState = onState;
    setInterval(() => this.#checkSilence(), 1000);
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => this.hurry());
    this.#connect();
  }

  /** Return the answer's body. Rejects with ProblemError or ConnectionLostError. */
  request(verb, body = {}) {
    if (!this.isOpen) return Promise.reject(new ConnectionLostError());
    const id = this.#nextId++;
    if (this.#pending.size === 0) this.#heardMs = performance.now();
    this.#socket.send(encode({ id, verb, body }));
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  /** Resolve once the connection is open. */
  whenOpen() {
    return this.isOpen ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#heardMs = performance.now();
    const socket = (this.#socket = new WebSocket(this.url, subprotocols()));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#answered(data);
    socket.onclose = () => this.#lost(socket);
  }

  #opened() {
    this.isOpen = true;
    this.#attempts = 0;
    this.onState(true, 0);
    this.#waiting.splice(0).forEach((resolve) => resolve());
  }

  #answered(data) {
    this.#heardMs = performance.now();
    const { id, status, body } = decode(new Uint8Array(data), reviveArray);
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (status < 400) pending?.resolve(body);
    else if (pending) pending.reject(new ProblemError(body));
    else throw new ProblemError(body); // a message of ours could not be read
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.isOpen = false;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempts++);
    const waitMs = longest * (0.5 + Math.random() / 2); // so that not all pages return at once
    this.#timer = setTimeout(() => this.#connect(), waitMs);
    this.onState(false, waitMs);
    pending.forEach(({ reject }) => reject(new ConnectionLostError()));
  }

  /** Connect now, if the connection is lost. */
  hurry() {
    if (this.#socket === null && !document.hidden) this.#connect();
  }

  #checkSilence() {
    const isWaiting = this.isOpen ? this.#pending.size > 0 : this.#socket !== null;
    if (isWaiting && performance.now() - this.#heardMs > SILENCE_MS) {
      const socket = this.#socket;
      socket.close();
      this.#lost(socket); // its close event may take minutes
    }
  }
}
