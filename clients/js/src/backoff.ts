const FIRST_MS = 250;
const LAST_MS = 10_000;

/**
 * How long to wait before the next attempt, in milliseconds: full jitter, so that clients that lost
 * the same gateway do not come back at the same moment.
 *
 * @param failures attempts that failed since the last `welcome`.
 */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  return random() * Math.min(LAST_MS, FIRST_MS * 2 ** failures);
}
