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
  readonly #named = new Set<string>(); // on this connection, and answered
  asked = new Set<string>(); // on this connection, and not yet answered
  #isCautious = false; // a connection names one new topic at most
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
      this.#resolve(topic);
    }
  }

  /** Wanted topics that the gateway has not been asked for on this connection. */
  get missing(): string[] {
    return [...this.#wanted.keys()].filter((topic) => !this.#named.has(topic) && !this.asked.has(topic));
  }

  /** Topics that the gateway has been asked for, and that are no longer wanted. */
  get surplus(): string[] {
    return [...this.#named].filter((topic) => !this.#wanted.has(topic));
  }

  /** Begin a connection; returns the topics that it is to name. */
  begin(): string[] {
    const [, ...others] = this.#pending.keys();
    this.#isCautious &&= this.#pending.size > 0;
    this.#named.clear();
    this.asked = new Set(this.#wanted.keys());
    if (this.#isCautious) this.unanswered(others);
    return [...this.asked];
  }

  /**
   * The gateway has refused a request to connect.
   *
   * If the request named one new topic, that topic is refused. If it named several, the next requests
   * name one each, to find those at fault.
   *
   * @returns whether there are new topics, so that another request may do.
   */
  turnedAway(reason: string): boolean {
    const [first, other] = [...this.#pending.keys()].filter((topic) => this.asked.has(topic));
    if (first === undefined) return false;
    this.#isCautious = true;
    const code = reason.startsWith("expected at most") ? "too_many_topics" : "invalid_topic";
    if (other === undefined) this.#refuse(first, new RefusalError(code, reason));
    return true;
  }

  /** The gateway is asked for these. */
  ask(topics: readonly string[]): void {
    for (const topic of topics) this.asked.add(topic);
  }

  /** The gateway does not answer for these now. An error says that it never will. */
  unanswered(topics: readonly string[], error?: Error): void {
    for (const topic of topics) {
      this.asked.delete(topic);
      if (error) this.#refuse(topic, error);
    }
  }

  /** These are given up on this connection. */
  drop(topics: readonly string[]): void {
    for (const topic of topics) this.#named.delete(topic);
  }

  /**
   * Take the gateway's word on what the connection receives.
   *
   * @param asked the topics that this answers for; by default all that it has answered for before.
   * @returns topics of which the application must fetch the state.
   */
  heard(received: readonly string[], asked: Iterable<string> = this.#named): string[] {
    this.received = received;
    for (const topic of asked) {
      this.asked.delete(topic);
      this.#named.add(topic);
      if (received.includes(topic)) {
        this.#resolve(topic);
      } else {
        this.#unread.add(topic);
        this.#refuse(topic, new RefusalError("forbidden", `the token does not allow ${topic}`));
        if (!this.#wanted.has(topic)) this.#named.delete(topic);
      }
    }
    return received.filter((topic) => this.#unread.delete(topic));
  }

  #resolve(topic: string): void {
    this.#pending.get(topic)?.resolve();
    this.#pending.delete(topic);
  }

  #refuse(topic: string, error: Error): void {
    const pending = this.#pending.get(topic);
    this.#pending.delete(topic);
    pending?.reject(error);
    if (pending) this.remove(topic, pending.subscriptions);
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
