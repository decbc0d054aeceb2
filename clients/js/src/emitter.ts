/** Handlers of one kind of thing. One that throws is reported and keeps nothing from the others. */
export class Emitter<Args extends unknown[]> {
  readonly #handlers = new Set<(...args: Args) => void>();

  /** Add a handler; returns a function that removes it. */
  add(handler: (...args: Args) => void): () => void {
    const own = (...args: Args) => handler(...args); // the same handler may be added twice
    this.#handlers.add(own);
    return () => this.#handlers.delete(own);
  }

  emit(...args: Args): void {
    for (const handler of [...this.#handlers]) {
      try {
        handler(...args);
      } catch (error) {
        // As an error in a DOM event's handler: on window's "error", or the process's.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
