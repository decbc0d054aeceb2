/**
 * Many tabs, one connection. One tab leads: it holds the lock `name`, and has the hub with the client
 * that is connected. To the clients of all tabs the hub looks like a gateway: it welcomes them, resumes
 * them from the last events, and passes on everything else. When the leading tab ends, another one gets
 * the lock, and its hub goes on from that tab's position with the topics of all. A leading tab that is
 * frozen, or waits for a dialog, answers no probe: then a tab that somebody looks at takes the lock.
 */
import { Hub, type Call, type MakeInner, type Saying, type Word } from "./hub.js";
import type { Beginning, Connection, Listener, ServerMessage } from "./protocol.js";
import { Recent } from "./recent.js";

// A hub that has not answered a probe by the next one is frozen.
const PROBE_MS = 5_000;

/** One client's place among those that share a connection. */
export class Tab {
  readonly #id = crypto.randomUUID();
  readonly #channel: BroadcastChannel;
  readonly #left = new AbortController();
  readonly #recent = new Recent();
  readonly #probes: ReturnType<typeof setInterval>;
  /** Whether this page may use locks at all. */
  readonly ready: Promise<boolean>;
  #hub: Hub | null = null;
  #term = 0; // of the hub that counts
  #isWelcome = false;
  #isProbed = false; // and the hub has said nothing since
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
    this.ready = new Promise((resolve) => {
      this.#hold(`${name} ${this.#id}`, () => resolve(true), () => resolve(false));
    });
    void this.ready.then((may) => may && this.#leadLater());
    this.#probes = setInterval(() => this.#probe(), PROBE_MS);
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
    clearInterval(this.#probes);
    this.#hub?.close();
    this.#left.abort();
    this.#channel.close();
  }

  #call(call: Call): void {
    this.#channel.postMessage(call);
  }

  async #greet(): Promise<void> {
    await this.ready;
    if (this.#hello && !this.#left.signal.aborted) this.#call(this.#hello);
  }

  /** Lead as soon as no other tab does, or instead of it. */
  #leadLater(steal = false): void {
    const lost = () => {
      this.#hub?.close();
      this.#hub = null;
      this.#leadLater();
    };
    this.#hold(this.name, () => this.#lead(), lost, steal);
  }

  #probe(): void {
    if (this.#hub || globalThis.document?.visibilityState === "hidden") return;
    if (this.#isProbed) this.#leadLater(true);
    else this.#call({ from: this.#id, kind: "probe" });
    this.#isProbed = !this.#isProbed;
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
    this.#isProbed = false;
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

  /**
   * Hold a lock from when it is granted until this tab leaves or ends.
   *
   * @param lost another tab has taken it, or this page may have none.
   * @param steal take it from the tab that has it.
   */
  #hold(name: string, granted: () => void, lost: () => void, steal = false): void {
    const { signal } = this.#left;
    const left = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    navigator.locks.request(name, steal ? { steal } : { signal }, () => (granted(), left)).catch(() => signal.aborted || lost());
  }
}
