/** Thrown by `getToken` to say that no token will come: the client closes and does not try again. */
export class Stop extends Error {
  override name = "Stop";
}

/** The gateway, or the application's handler, refused a message. */
export class RefusalError extends Error {
  override name = "RefusalError";

  /**
   * @param code for programs: `unknown_type`, `invalid`, `timeout`, … or the application's own.
   * @param message for people.
   */
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/**
 * A message got no answer: the connection was lost, the time was up, or the client is closed.
 *
 * `sent` says whether the message left. If it did, the handler may have run.
 */
export class NoAnswerError extends Error {
  override name = "NoAnswerError";

  constructor(
    message: string,
    readonly sent: boolean,
  ) {
    super(message);
  }
}
