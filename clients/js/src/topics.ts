import { NoAnswerError, RefusalError } from "./errors.js";
import type { RefusedTopic } from "./protocol.js";

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
  /** Why the gateway refused a request to connect that named new topics; the next one names none of them. */
  refusal: string | undefined;
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

  /** Wanted topics that the gateway has been asked for, and does not grant. */
  get forbidden(): string[] {
    return [...this.#wanted.keys()].filter((topic) => this.#named.has(topic) && !this.received.includes(topic));
  }

  /** Begin a connection; returns the topics that it is to name. */
  begin(): string[] {
    this.#named.clear();
    this.asked = new Set(this.#wanted.keys());
    if (this.refusal) this.unanswered(this.#pending.keys());
    return [...this.asked];
  }

  /** Whether the request to connect names topics that the gateway has not granted before. */
  get areNew(): boolean {
    return [...this.#pending.keys()].some((topic) => this.asked.has(topic));
  }

  /** The gateway is asked for these. */
  ask(topics: readonly string[]): void {
    for (const topic of topics) this.asked.add(topic);
  }

  /** The gateway does not answer for these now. An error says that it never will. */
  unanswered(topics: Iterable<string>, error?: Error): void {
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
   * @param refused by the application; all others that are not received are forbidden.
   * @returns topics of which the application must fetch the state.
   */
  heard(received: readonly string[], asked: Iterable<string> = this.#named, refused: RefusedTopic[] = []): string[] {
    this.received = received;
    for (const topic of asked) {
      this.asked.delete(topic);
      this.#named.add(topic);
      if (received.includes(topic)) {
        this.#resolve(topic);
      } else {
        this.#unread.add(topic);
        const { code = "forbidden", message = `the token does not allow ${topic}` } = refused.find((each) => each.topic === topic) ?? {};
        this.#refuse(topic, new RefusalError(code, message));
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

  /** Let those that wait for a topic know that the client has closed. The topics stay wanted. */
  fail(reason: string): void {
    for (const { reject } of this.#pending.values()) reject(new NoAnswerError(`closed: ${reason}`, false));
    this.#pending.clear();
  }
}

function pendingOne(): Pending {
  let resolve!: () => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<void>((...functions) => ([resolve, reject] = functions));
  return { promise, resolve, reject, subscriptions: 0 };
}
