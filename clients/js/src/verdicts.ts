// Written by verdicts.py from the gateway's close codes and docs/errors.md. Do not edit.

/**
 * - `retry`: come back.
 * - `token`: come back once with a fresh token.
 * - `position`: come back without the position, if there was one.
 * - `stop`: coming back would end the same way.
 */
export type Verdict = "retry" | "token" | "position" | "stop";

/** By close code, HTTP status, or label of an event stream's `$error`. All others: `retry`. */
const VERDICTS: Record<number | string, Verdict> = {
  400: "position",
  401: "token",
  403: "stop",
  404: "stop",
  405: "stop",
  421: "stop",
  426: "stop",
  431: "stop",
  1002: "stop",
  1003: "stop",
  4400: "position",
  4401: "token",
  4403: "stop",
  4413: "stop",
  barred: "stop",
  expired: "token",
  invalid_since: "position",
  malformed: "position",
  protocol_error: "stop",
  revoked: "token",
  too_large: "stop",
  unauthenticated: "token",
  unsupported_data: "stop",
};

/** What to do after a connection ended. */
export function verdict(code: number | string): Verdict {
  return VERDICTS[code] ?? "retry";
}
