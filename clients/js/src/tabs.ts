/**
 * Many tabs, one connection. One tab leads: it holds the lock `name`, and has the hub with the client
 * that is connected. To the clients of all tabs the hub looks like a gateway: it welcomes them, resumes
 * them from the last events, and passes on everything else. When the leading tab ends, another one gets
 * the lock, and its hub goes on from that tab's position with the topics of all.
 */
import { Hub, type Call, type MakeInner, type Saying, type Word } from "./hub.js";
import type { Beginning, Connection, Listener, ServerMessage } from "./protocol.js";
import { Recent } from "./recent.js";

/** One client's place among those that share a connection. */
export class Tab {
  readonly #id = crypto.randomUUID();
  readonly #channel: BroadcastChannel;
  readonly #left = new AbortController();
  readonly #recent = new Recent();
  readonly #ready: Promise<void>;
  #hub: Hub | null = null;
  #term = 0; // of the hub that counts
  #isWelcome = false;
  #isLoggedOut: boolean;
  #topics: Word["topics"] = {};
  #told: readonly string[] = []; // the topics that a hub named last
  #listener: Listener | null = null;
  #hello: Extract<Call, { kind: "hello" }> | null = null;
  #opened = 0;
  #connection: string | null = null; // the gateway's name for the one that the position was reached on
  #welcomed: string | null = null; // its name for the one that the hub has now

  /** @param name the same for all that share. */
  constructor(
    private readonly name: string,
    isLoggedOut: boolean,
    private readonly makeInner: MakeInner,
  ) {
    this.#isLoggedOut = isLoggedOut;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Word | Call>) => "term" in data && this.#hear(data);
    // The browser releases this lock when the tab ends; the hub waits for it.
    this.#ready = new Promise((resolve) => this.#hold(`${name} ${this.#id}`, resolve));
    void this.#ready.then(() => this.#hold(name, () => this.#lead()));
  }

  /** Connect to the hub, as to a gateway. */
  open({ since, topics }: Beginning, listener: Listener): Connection {
    this.#listener = listener;
    this.#isWelcome = false;
    if (since && this.#recent.last === null) {
      this.#recent.begin(since.id);
      this.#connection = since.connection;
    }
    this.#hello = { from: this.#id, kind: "hello", attempt: ++this.#opened, since, topics, told: this.#told };
    void this.#greet();
    return {
      send: (message) => this.#call({ from: this.#id, kind: "say", message: message as Saying }),
      close: () => (this.#listener = this.#hello = null),
    };
  }

  /** Leave. If this tab leads, another one takes over. */
  leave(): void {
    this.#call({ from: this.#id, kind: "bye" });
    this.#hub?.close();
    this.#left.abort();
    this.#channel.close();
  }

  #call(call: Call): void {
    this.#channel.postMessage(call);
  }

  async #greet(): Promise<void> {
    await this.#ready;
    if (this.#hello && !this.#left.signal.aborted) this.#call(this.#hello);
  }

  #lead(): void {
    const id = this.#recent.last;
    this.#hub = new Hub(this.name, this.makeInner, {
      term: Math.max(this.#term + 1, Date.now()),
      since: id ? { id, connection: this.#connection } : null,
      recent: this.#recent.copy(),
      topics: this.#topics,
      wanted: this.#hello?.topics ?? [],
      isLoggedOut: this.#isLoggedOut,
    });
  }

  #hear(word: Word): void {
    if (word.term < this.#term) return; // of a hub that is gone
    if (word.term > this.#term) {
      this.#term = word.term;
      const wasWelcome = this.#isWelcome;
      this.#isWelcome = false;
      if (wasWelcome) this.#listener?.ended({ reason: "another tab connects", afterMs: 0 });
      else void this.#greet();
    }
    this.#isLoggedOut = word.isLoggedOut;
    this.#topics = word.topics;
    const isMine = word.to ? word.to === this.#id && word.attempt === this.#opened : word.isForAll || this.#isWelcome;
    if (isMine) {
      if (word.end) this.#listener?.ended(word.end);
      if (word.message) this.#pass(word.message, word.to !== undefined);
    }
  }

  #pass(message: ServerMessage, isReplay: boolean): void {
    if (message.kind === "welcome" || message.kind === "identity") this.#told = message.topics ?? [];
    if (message.kind === "welcome") {
      this.#isWelcome = true;
      this.#welcomed = message.connection;
    }
    if (message.kind === "gap" || (message.kind === "welcome" && message.resumed !== true)) {
      this.#recent.begin(message.id);
      this.#connection = this.#welcomed;
    }
    if (message.kind === "event") {
      if (message.isPast) this.#recent.keep(message);
      else {
        if (!isReplay || !this.#recent.has(message)) this.#recent.add(message);
        this.#connection = this.#welcomed;
      }
      const { topic } = message;
      const isForeign = topic !== undefined && topic in this.#topics && !this.#hello?.topics.includes(topic);
      if (isForeign) message = { ...message, isForeign };
    }
    this.#listener?.message(message);
  }

  /** Hold a lock from when it is granted until this tab leaves or ends. */
  #hold(name: string, granted: () => void): void {
    const { signal } = this.#left;
    const left = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    navigator.locks.request(name, { signal }, () => (granted(), left)).catch(() => {}); // left before
  }
}
