// Written by verdicts.py from contract/clarion_contract/protocol. Do not edit.

/**
 * - `token`: come back once with a fresh token.
 * - `stop`: coming back would end the same way.
 *
 * Missing: come back.
 */
export type Verdict = "token" | "stop";

/** What to do after a WebSocket closed, by close code. */
export const AFTER_CLOSE: Record<number, Verdict> = {
  1002: "stop",
  1003: "stop",
  4400: "stop",
  4401: "token",
  4403: "stop",
  4413: "stop",
};

/** What to do after an event stream: by HTTP status, or by the label of `$error`. */
export const AFTER_STREAM: Record<number | string, Verdict> = {
  400: "stop",
  401: "token",
  403: "stop",
  404: "stop",
  405: "stop",
  421: "stop",
  426: "stop",
  431: "stop",
  barred: "stop",
  expired: "token",
  invalid_last: "stop",
  invalid_since: "stop",
  invalid_topic: "stop",
  malformed: "stop",
  protocol_error: "stop",
  refused: "stop",
  revoked: "token",
  too_large: "stop",
  too_many_topics: "stop",
  unauthenticated: "token",
  unsupported_data: "stop",
};
