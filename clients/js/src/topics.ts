import { RefusalError } from "./errors.js";

interface Pending {
  readonly promise: Promise<void>;
  resolve: () => void;
  reject: (error: Error) => void;
  subscriptions: number;
}

/** The topics of a client: those that the application wants, and the gateway's word on them. */
export class Topics {
  readonly #wanted = new Map<string, number>(); // the number of subscriptions to each
  readonly #pending = new Map<string, Pending>();
  // The application has not been told to fetch the state of these.
  readonly #unread = new Set<string>();
  #named = new Set<string>(); // on this connection
  /** Topics that the connection receives: those granted by the token, and of the wanted ones those allowed. */
  received: readonly string[] = [];

  /** @param topics wanted from the beginning. */
  constructor(topics: readonly string[] = []) {
    for (const topic of topics) this.#wanted.set(topic, 1);
  }

  /**
   * Want a topic, once more.
   *
   * @returns resolves when the gateway sends its events; rejects with RefusalError if it does not
   *   allow that.
   */
  add(topic: string): Promise<void> {
    this.#wanted.set(topic, (this.#wanted.get(topic) ?? 0) + 1);
    if (this.received.includes(topic)) return Promise.resolve();
    let pending = this.#pending.get(topic);
    if (!pending) {
      this.#unread.add(topic);
      this.#named.delete(topic); // forbidden before: ask again
      this.#pending.set(topic, (pending = pendingOne()));
    }
    pending.subscriptions++;
    return pending.promise;
  }

  /** Want a topic once less. */
  remove(topic: string, subscriptions = 1): void {
    const left = (this.#wanted.get(topic) ?? 0) - subscriptions;
    if (left > 0) this.#wanted.set(topic, left);
    else {
      this.#wanted.delete(topic);
      this.#unread.delete(topic);
      this.#pending.get(topic)?.resolve();
      this.#pending.delete(topic);
    }
  }

  /** Whether the gateway was asked for other topics than those wanted. */
  get areStale(): boolean {
    return this.#named.size !== this.#wanted.size || [...this.#wanted.keys()].some((topic) => !this.#named.has(topic));
  }

  /** The wanted topics, to ask for. */
  name(): string[] {
    this.#named = new Set(this.#wanted.keys());
    return [...this.#named];
  }

  /**
   * Take the gateway's word on what the connection receives.
   *
   * @returns topics of which the application must fetch the state.
   */
  heard(received: readonly string[]): string[] {
    this.received = received;
    for (const topic of this.#named) {
      const pending = this.#pending.get(topic);
      this.#pending.delete(topic);
      if (received.includes(topic)) pending?.resolve();
      else {
        this.#unread.add(topic);
        if (!pending) continue;
        this.remove(topic, pending.subscriptions);
        pending.reject(new RefusalError("forbidden", `the token does not allow the topic ${topic}`));
      }
    }
    return received.filter((topic) => this.#unread.delete(topic));
  }

  /** Let those that wait for a topic know that it does not come. The topics stay wanted. */
  fail(error: Error): void {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

function pendingOne(): Pending {
  let resolve!: () => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<void>((...functions) => ([resolve, reject] = functions));
  return { promise, resolve, reject, subscriptions: 0 };
}
