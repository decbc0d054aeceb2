// Written by verdicts.py from contract/clarion_contract/protocol. Do not edit.

/**
 * - `retry`: come back.
 * - `token`: come back once with a fresh token.
 * - `stop`: coming back would end the same way.
 */
export type Verdict = "retry" | "token" | "stop";

/** By close code of a WebSocket. All others: `retry`. */
const CODES: Record<number, Verdict> = {
  1002: "stop",
  1003: "stop",
  4400: "stop",
  4401: "token",
  4403: "stop",
  4413: "stop",
};

/** By HTTP status, or label of an event stream's `$error`. All others: `retry`. */
const STREAMS: Record<number | string, Verdict> = {
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

/** What to do after a WebSocket closed. */
export function verdictOnClose(code: number): Verdict {
  return CODES[code] ?? "retry";
}

/** What to do after an event stream was refused, or ended. */
export function verdictOnStream(code: number | string): Verdict {
  return STREAMS[code] ?? "retry";
}
