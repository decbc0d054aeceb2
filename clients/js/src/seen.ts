const KEPT_MICROSECONDS = 60_000_000;

/**
 * Ids of the last minute of events. On a Redis Cluster a client that resumes as a user may get some
 * events again (docs/protocol.md, "No event twice"); elsewhere every id is new.
 */
export class Seen {
  readonly #ids = new Set<string>();

  /**
   * Whether the id was not here before; from now on it is.
   *
   * @param stream two topics may have the same id, so each has its own name here.
   */
  add(id: string, stream = ""): boolean {
    const key = `${id} ${stream}`;
    if (this.#ids.has(key)) return false;
    this.#ids.add(key);
    for (const oldest of this.#ids) {
      if (parseInt(oldest) > Number(id) - KEPT_MICROSECONDS) break;
      this.#ids.delete(oldest);
    }
    return true;
  }
}
