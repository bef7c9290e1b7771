// What can go wrong between the page and the server, and the words for it.

/** The server answered with a problem (RFC 9457): see docs/errors.md. Few have `retryAfterS`. */
export class ProblemError extends Error {
  constructor({ code, status, detail, retry_after_s: retryAfterS }) {
    super(detail);
    Object.assign(this, { code, status, retryAfterS });
  }
}

/** The connection ended before the answer came; whether the request was processed is unknown. */
export class ConnectionLostError extends Error {
  constructor() {
    super("the connection was lost");
  }
}

/** A dream cannot be dreamt again, as its world was replaced under its name. */
export class WorldChangedError extends Error {
  code = "world_changed";

  constructor() {
    super("The server's world has changed: it dreams another dream now. Begin again.");
  }
}

const IS_GONE = new Set(["session_not_found", "session_expired", "session_lost"]);
const IS_TEMPORARY = new Set([
  "not_ready", "draining", "overloaded", "rate_limited", "session_moved", "store_unavailable",
]);

/** Whether the server no longer has the session. */
export const isGone = (error) => IS_GONE.has(error.code);

/** Whether the same request may succeed a little later. */
export const isTemporary = (error) => IS_TEMPORARY.has(error.code);

/** Whether fewer requests would succeed. */
export const isTooMuch = (error) => ["overloaded", "rate_limited"].includes(error.code);

/** Whether the request changed nothing; otherwise it may have been processed. */
export const isRefused = (error) => error.status < 500;

const PLAIN = {
  not_ready: "The server is warming up",
  draining: "The server is shutting down and takes no new dreams",
  overloaded: "The server is full",
  rate_limited: "Too many requests",
  session_moved: "Another server takes this dream over",
  store_unavailable: "The server cannot store this at the moment",
  unauthorized: "The server wants an API key",
  world_not_found: "The server does not have this world",
  dream_ended: "The dream has ended",
  dream_not_finite: "The world computed something that is not a number",
};

/** Return what kind of problem it is, in words. */
export const kindOf = ({ code }) => PLAIN[code] ?? "The server refused this";

/** Return an error as a sentence for people. */
export function inWords(error) {
  if (!(error instanceof ProblemError)) return error.message;
  return `${kindOf(error)}: ${error.message} (${error.code}, ${error.status})`;
}
