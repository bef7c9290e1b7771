// What can go wrong between the page and the server, and the words for it.

/** The server answered with a problem (RFC 9457): see docs/errors.md. */
export class ProblemError extends Error {
  constructor({ code, status, detail }) {
    super(detail);
    Object.assign(this, { code, status });
  }
}

/** The connection ended before the answer came; whether the request was processed is unknown. */
export class ConnectionLostError extends Error {
  constructor() {
    super("the connection was lost");
  }
}

const IS_GONE = new Set(["session_not_found", "session_expired"]);
const IS_TEMPORARY = new Set(["not_ready", "draining", "overloaded", "rate_limited"]);

/** Whether the server no longer has the session. */
export const isGone = (error) => IS_GONE.has(error.code);

/** Whether the same request may succeed a little later. */
export const isTemporary = (error) => IS_TEMPORARY.has(error.code);

const PLAIN = {
  not_ready: "The server is warming up",
  draining: "The server is shutting down and takes no new dreams",
  overloaded: "The server is full",
  rate_limited: "Too many requests",
  unauthorized: "The server wants an API key",
  world_not_found: "The server does not have this world",
  dream_ended: "The dream has ended",
  dream_not_finite: "The world computed something that is not a number",
};

/** Return an error as a sentence for people. */
export function inWords(error) {
  if (!(error instanceof ProblemError)) return error.message;
  const about = PLAIN[error.code] ?? "The server refused this";
  return `${about}: ${error.message} (${error.code}, ${error.status})`;
}
