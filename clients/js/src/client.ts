import { backoffMs } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { NoAnswerError, RefusalError, Stop } from "./errors.js";
import { watchPage } from "./page.js";
import { Kept, type StorageLike } from "./position.js";
import type { Beginning, ClarionEvent, Connection, End, Listener, Presence, RefusedTopic, ServerMessage } from "./protocol.js";
import { Seen } from "./seen.js";
import type { Tab } from "./tabs.js";
import { Topics } from "./topics.js";
import { openWebSocket, type WebSocketConstructor } from "./websocket.js";

// The gateway answers within its GATEWAY_HANDSHAKE_SECONDS, 10 by default.
const CONNECT_MS = 12_000;
const TOKEN_MS = 30_000;
// Intervals of the gateway's pings without a sign of life after which a connection counts as lost.
const SILENT_INTERVALS = 2;
const REFRESH_AT = 0.8; // of a token's life
const CLOSED = "closed";
const TIMER_MAX_MS = 2 ** 31 - 1;

export interface TokenContext {
  /**
   * - `connect`: a connection is about to be made.
   * - `expiring`: the token in use ends soon.
   * - `refused`: the gateway refused the last token, or it has expired or was revoked.
   * - `login`: the application called `login`.
   */
  readonly reason: "connect" | "expiring" | "refused" | "login";
  /** Aborted when the token is no longer wanted. */
  readonly signal: AbortSignal;
}

export type Token = string | null;

export interface Options {
  /**
   * The gateway: `https://events.example.com`, with a path prefix if it has one. In a page it may be
   * relative. `/ws` or `/sse` at the end is ignored.
   */
  url: string | URL;
  /**
   * Makes a token (a JWT), or null for an anonymous connection. It is asked before each connection
   * and before a token ends. If it throws, or takes longer than 30 seconds, the client waits and asks
   * again; if it throws `Stop`, the client closes.
   */
  getToken?: (context: TokenContext) => Token | Promise<Token>;
  /** Topics to receive from the first connection on, as by `subscribe`. */
  topics?: readonly string[];
  /**
   * Keeps the position, so that a page that is reloaded resumes: `() => sessionStorage`. As a function,
   * because naming it throws where the browser keeps pages from storing anything.
   */
  storage?: StorageLike | (() => StorageLike);
  /** The key in `storage`. Default: `clarion:` and the url. */
  storageKey?: string;
  /**
   * `auto`, the default: WebSocket, and server-sent events where sockets do not get through. Over
   * `sse`, messages go by POST, if the gateway takes them.
   */
  transport?: "auto" | "websocket" | "sse";
  /**
   * One connection for all tabs of the browser that share it: same url, same `storageKey`. Where the
   * browser cannot (it needs Web Locks, so a secure context), each tab has its own.
   */
  share?: boolean;
  /**
   * Takes messages from the gateway before the client; true: the client is not to see it.
   *
   * @internal
   */
  relay?: (message: ServerMessage, answer: (answer: object) => void) => boolean;
  /** Where there is no global `WebSocket` (Node 20 and 21): the one of the package `ws`. */
  WebSocket?: WebSocketConstructor;
}

/** How the client is; `reason` is for people. */
export type Status =
  | {
      readonly state: "connecting";
      readonly reason: string;
      /** Attempts that failed since the last `welcome`. */
      readonly failures: number;
      /** When the next attempt begins, as `Date.now()` counts; null: it is under way. */
      readonly retryAt: number | null;
    }
  | {
      readonly state: "open";
      readonly reason: string;
      readonly transport: "websocket" | "sse";
      /** Null: anonymous. */
      readonly user: string | null;
      /** The gateway's id of the connection, for a producer's `exclude`. */
      readonly connection: string;
      /** The gateway's name. */
      readonly pod: string;
      /** Whether everything that was missed follows; null: the client had no position yet. */
      readonly resumed: boolean | null;
      /** When the token ends, as `Date.now()` counts; null: there is none. */
      readonly expiresAt: number | null;
      /** The topics whose events arrive. */
      readonly topics: readonly string[];
      /** Topics that the client asks for, and that the gateway does not grant. */
      readonly forbidden: readonly string[];
    }
  | {
      readonly state: "closed";
      readonly reason: string;
      /** A close code, an HTTP status, or `stopped` (by `Stop`) or `closed` (by `close`). */
      readonly code: number | string;
    };

type Open = Extract<Status, { state: "open" }>;

/** Why the application must fetch its state anew, and the id from which events follow. */
export interface Refresh {
  /**
   * - `first`: the first connection, or a topic's first events; events from `id` on follow.
   * - `not_resumed`: the client was away for longer than the history reaches.
   * - `gap`: the gateway's Redis lost events.
   */
  readonly reason: "first" | "not_resumed" | "gap";
  readonly id: string;
  /** Only the state of this topic. Missing: all state. */
  readonly topic?: string;
}

/** What a message carries and what its handler replies, by type. */
export type Calls = Record<string, { data: unknown; reply: unknown }>;

interface Asked {
  resolve: (message: ServerMessage) => void;
  reject: (error: Error) => void;
  topics?: string[];
  last?: number; // so many events were asked for
}

/**
 * A lasting connection to a Clarion gateway: it comes back by itself and resumes, so that every event
 * reaches its handlers once, in order, or `onRefresh` says that some may be missing.
 *
 * @example
 * const client = createClient({ url: "https://events.example.com", getToken: fetchToken("/token") });
 * client.onRefresh(() => loadOrders());
 * client.on("order.updated", (order) => show(order));
 * const reply = await client.send("chat.message", { text: "hi" });
 */
export class Client<
  Events extends Record<string, any> = Record<string, any>,
  Messages extends Calls = Record<string, { data: any; reply: any }>,
> {
  readonly #base: URL;
  readonly #options: Options;
  readonly #position: Kept;
  readonly #seen = new Seen();
  readonly #topics: Topics;
  readonly #byType = new Map<string, Emitter<[any, ClarionEvent]>>();
  readonly #onAny = new Emitter<[ClarionEvent]>();
  readonly #onStatus = new Emitter<[Status]>();
  readonly #onRefresh = new Emitter<[Refresh]>();
  readonly #presence = new Map<string, Presence>();
  readonly #asked = new Map<number, Asked>();
  readonly #answers = new Map<string, (data: any) => unknown>();
  readonly #WebSocket: WebSocketConstructor | undefined;

  #status: Status = { state: "closed", reason: "not connected yet", code: CLOSED };
  #connection: Connection | null = null;
  #attempt = 0; // whatever comes of an older one is ignored
  #abort: AbortController | undefined;
  #failures = 0;
  #unwelcome = 0; // WebSocket attempts in a row that nothing came back from
  #refusedTokens = 0;
  #tokenReason: TokenContext["reason"] = "connect";
  #isAnonymous = false; // since `logout`
  #usesSse: boolean;
  #hintMs: number | null = null;
  #ref = 0;
  #heardAt = 0;
  #pingMs = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #refresh: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setTimeout> | undefined;
  #stopWatchingPage = () => {};
  #shares: unknown; // whether it does
  #tab: Tab | null = null;

  constructor(options: Options) {
    this.#options = options;
    this.#base = new URL(options.url, globalThis.location?.href);
    this.#topics = new Topics(options.topics);
    this.#position = new Kept(options.storage, options.storageKey ?? `clarion:${this.#base.href}`);
    this.#WebSocket = options.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
    this.#usesSse = options.transport === "sse";
    this.#shares = options.share && globalThis.navigator?.locks && globalThis.BroadcastChannel;
    if (!this.#WebSocket && !this.#usesSse) {
      if (options.transport === "websocket") {
        throw new TypeError("expected WebSocket");
      }
      this.#usesSse = true;
    }
  }

  /** How the client is now. */
  get status(): Status {
    return this.#status;
  }

  /** The id of the last event that the client's handlers had; null before the first `welcome`. */
  get position(): string | null {
    return this.#position.value?.id ?? null;
  }

  /** Connect, and stay connected. Does nothing while the client is not closed. */
  connect(): void {
    if (this.#status.state !== "closed") return;
    this.#failures = this.#unwelcome = this.#refusedTokens = 0;
    this.#tokenReason = "connect";
    this.#stopWatchingPage = watchPage({
      awake: () => this.#wake(),
      hidden: () => this.#position.flush(),
      frozen: () => {
        this.#letGo("hidden");
        this.#leaveTabs();
      },
      thawed: () => this.#start(),
    });
    this.#start();
  }

  /** End the connection; messages without an answer fail. The position is kept. */
  close(): void {
    this.#close("closed by the application", CLOSED);
  }

  /** Hear the status now, and each change of it; returns a function that stops. */
  onStatus(handler: (status: Status) => void): () => void {
    const stop = this.#onStatus.add(handler);
    handler(this.#status);
    return stop;
  }

  /** Hear events of a type; returns a function that stops. */
  on<Type extends keyof Events & string>(
    type: Type,
    handler: (data: Events[Type], event: ClarionEvent<Type, Events[Type]>) => void,
  ): () => void {
    return this.#handle(type, handler as (data: any, event: ClarionEvent) => void);
  }

  /** Hear messages of a type that a handler sends to this connection only; returns a function that stops. */
  onMessage(type: string, handler: (data: any) => void): () => void {
    return this.#handle(` ${type}`, handler); // no event's type begins so
  }

  /**
   * Hear who receives a topic, now and at each change; returns a function that stops.
   *
   * Subscribe to the topic as well. The gateway tells it where a rule of the topic says so.
   */
  onPresence(topic: string, handler: (presence: Presence) => void): () => void {
    const now = this.#presence.get(topic);
    if (now) handler(now);
    return this.#handle(`$${topic}`, handler); // nor so
  }

  /**
   * Answer the application's questions of a type; returns a function that stops.
   *
   * @param handler returns the answer, perhaps later. If it throws a RefusalError, the answer is its code.
   */
  onAsk(type: string, handler: (data: any) => unknown): () => void {
    this.#answers.set(type, handler);
    return () => this.#answers.get(type) === handler && this.#answers.delete(type);
  }

  #handle(key: string, handler: (data: any, event: ClarionEvent) => void): () => void {
    let handlers = this.#byType.get(key);
    if (!handlers) this.#byType.set(key, (handlers = new Emitter()));
    return handlers.add(handler);
  }

  async #answer({ ref, type, data }: ServerMessage & { kind: "ask" }): Promise<void> {
    const connection = this.#connection;
    const handler = this.#answers.get(type);
    const answer = (fields: object) => connection?.send?.({ kind: "answer", ref, ...fields });
    try {
      if (!handler) throw new RefusalError("unknown_type", type);
      answer({ data: (await handler(data)) ?? null });
    } catch (error) {
      const { code = "internal_error", message } = error as RefusalError;
      answer({ error: { code, message } });
    }
  }

  /** Hear all events; returns a function that stops. */
  onAny(handler: (event: ClarionEvent) => void): () => void {
    return this.#onAny.add(handler);
  }

  /** Hear that the application's state must be fetched anew; returns a function that stops. */
  onRefresh(handler: (refresh: Refresh) => void): () => void {
    return this.#onRefresh.add(handler);
  }

  /**
   * Send a message to the application's handler of its type; resolves with the reply.
   *
   * While the client connects, the message waits.
   *
   * @param timeout milliseconds for all of it.
   * @throws RefusalError if the gateway or the handler refuses the message.
   * @throws NoAnswerError if no answer comes; its `sent` says whether the handler may have run.
   */
  async send<Type extends keyof Messages & string>(
    type: Type,
    data: Messages[Type]["data"],
    { timeout = 10_000 }: { timeout?: number } = {},
  ): Promise<Messages[Type]["reply"]> {
    const answer = await this.#ask({ kind: "message", type, data }, timeout);
    return (answer as { data: unknown }).data;
  }

  /**
   * Receive a topic's events, also after each reconnect; resolves when they arrive from now on.
   *
   * `onRefresh` says when to fetch the topic's state. Two subscriptions to a topic need two
   * `unsubscribe`.
   *
   * @param last so many of the newest events that were published before; handlers do not get them.
   *   If they cannot be had, the promise rejects, and the topic is received all the same.
   * @throws RefusalError if the token does not allow the topic, it is no topic's name, or there are too many.
   * @throws NoAnswerError if the client closes, or has closed itself; the topic counts as soon as it
   *   connects again.
   */
  async subscribe(topic: string, { last = 0 }: { last?: number } = {}): Promise<{ events: ClarionEvent[] }> {
    const had = new Set<string>();
    const stop = this.#onAny.add((event) => event.topic === topic && had.add(event.id));
    try {
      const subscribed = this.#topics.add(topic);
      this.#nameTopicsSoon();
      await subscribed;
      if (!last) return { events: [] };
      const past = await this.#ask({ kind: "subscribe", topics: [topic], last }, CONNECT_MS);
      const { events = [] } = past as { events?: ClarionEvent[] };
      return { events: events.filter(({ id }) => !had.has(id)) };
    } finally {
      stop();
    }
  }

  /** Receive a topic's events no longer, unless the token itself grants them. */
  unsubscribe(topic: string): void {
    this.#topics.remove(topic);
    this.#nameTopicsSoon();
  }

  /** Once for all changes of the moment. */
  #nameTopicsSoon(): void {
    queueMicrotask(() => {
      // Closed for good: nobody is to wait for topics. But a component may subscribe before another one connects.
      const { code, reason } = this.#status as Status & { state: "closed" };
      if ((code ?? CLOSED) !== CLOSED) this.#topics.fail(reason);
      const { missing, surplus } = this.#topics;
      if (this.#status.state !== "open" || !(missing[0] || surplus[0])) return;
      const { refusal } = this.#topics;
      this.#topics.refusal = undefined;
      if (this.#shares || !this.#connection!.send) {
        if (!refusal) return void this.#start();
        return this.#topics.unanswered(missing, new RefusalError("invalid_topic", refusal)); // which ones is not to be found out
      }
      if (surplus[0]) {
        this.#topics.drop(surplus);
        this.#ask({ kind: "unsubscribe", topics: surplus }, CONNECT_MS).catch(() => {}); // the next connection names the others
      }
      if (missing[0]) void this.#askFor(missing);
    });
  }

  async #askFor(topics: string[]): Promise<void> {
    const attempt = this.#attempt;
    this.#topics.ask(topics);
    try {
      await this.#ask({ kind: "subscribe", topics }, CONNECT_MS);
    } catch (error) {
      if (attempt !== this.#attempt) return; // the next connection names them
      const code = (error as RefusalError).code;
      const isFinal = code === "invalid_topic" || code === "too_many_topics";
      if (isFinal && topics.length > 1) return topics.forEach((topic) => void this.#askFor([topic])); // one may be at fault
      this.#topics.unanswered(topics, isFinal ? (error as Error) : undefined);
      if (!code || code === "malformed") void this.#start(); // a gateway that knows no such message
      else if (!isFinal) setTimeout(() => this.#nameTopicsSoon(), 1_000 + backoffMs(2));
    }
  }

  /** Ask `getToken` for a token now, and speak for its user from then on. */
  async login(): Promise<void> {
    this.#isAnonymous = false;
    await this.#identify("login");
  }

  /** Speak for nobody, until `login`. */
  async logout(): Promise<void> {
    this.#isAnonymous = true;
    await this.#identify("login");
  }

  async #identify(reason: TokenContext["reason"]): Promise<void> {
    if (this.#status.state === "closed") return;
    if (this.#shares) return void (await this.#ask({ kind: "auth", isLogout: this.#isAnonymous }, CONNECT_MS));
    if (this.#usesSse || this.#status.state !== "open") {
      this.#tokenReason = reason;
      this.#start();
      return;
    }
    const token = await this.#token(reason);
    if (this.#connection) await this.#ask({ kind: "auth", token }, CONNECT_MS);
  }

  /** `getToken` has thrown, or what came after it: close, go on, or nothing if all that is over. */
  #failed(attempt: number, error: Error, goOn: () => void): void {
    if (attempt !== this.#attempt) return;
    if (error instanceof Stop) this.#close(error.message, "stopped");
    else goOn();
  }

  async #token(reason: TokenContext["reason"]): Promise<Token> {
    const { getToken } = this.#options;
    if (this.#isAnonymous || this.#shares || !getToken) return null;
    const asked = async () => getToken({ reason, signal: this.#abort!.signal });
    return (await within<Token>(TOKEN_MS, false, (resolve, reject) => void asked().then(resolve, reject))) ?? null;
  }

  /** Begin an attempt, whatever was before. */
  async #start(reason = "connecting"): Promise<void> {
    this.#letGo(reason);
    const attempt = this.#attempt;
    this.#reportAttempt(reason, null);
    const listener = {
      message: (message: ServerMessage) => attempt === this.#attempt && this.#hear(message),
      ended: (end: End) => attempt === this.#attempt && this.#ended(end),
    };
    let missing = "no token: ";
    try {
      const token = await this.#token(this.#tokenReason);
      missing = ""; // what may fail now: a file cannot be loaded, or the page's policy forbids the address
      const open = await this.#transport(attempt);
      if (attempt !== this.#attempt) return;
      this.#watch = setTimeout(() => listener.ended({ reason: "no answer in time" }), CONNECT_MS);
      const beginning = { token, since: this.#position.value, topics: this.#topics.begin() };
      this.#connection = open(beginning, listener);
    } catch (error) {
      this.#failed(attempt, error as Error, () => listener.ended({ reason: missing + (error as Error).message }));
    }
  }

  /** How to connect. Files that few pages need are loaded when they are needed. */
  async #transport(attempt: number): Promise<(beginning: Beginning, listener: Listener) => Connection> {
    if (this.#shares) {
      const { Tab } = await import("./tabs.js");
      if (attempt !== this.#attempt) throw 0; // perhaps closed: a tab would stay and lead
      this.#tab ??= new Tab(`clarion ${this.#base.href} ${this.#options.storageKey ?? ""}`, this.#isAnonymous, (own) =>
        new Client({ ...this.#options, share: false, ...own }),
      );
      const tab = this.#tab;
      if (await tab.ready) return (...how) => tab.open(...how);
      this.#shares = false; // the browser has locks, and this page may not use them
      void this.#start();
    }
    if (this.#usesSse) {
      const { openEventStream } = await import("./sse.js");
      return (...how) => openEventStream(this.#base, ...how);
    }
    return (...how) => openWebSocket(this.#WebSocket!, this.#base, ...how);
  }

  /** Drop the connection and what belongs to it, and be deaf to what still comes of it. */
  #letGo(reason: string): void {
    this.#attempt++;
    for (const timer of [this.#retry, this.#refresh, this.#watch]) clearTimeout(timer);
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.#connection?.close();
    this.#connection = null;
    for (const { reject } of this.#asked.values()) reject(new NoAnswerError(reason, true));
    this.#asked.clear();
  }

  #close(reason: string, code: number | string): void {
    if (this.#status.state === "closed") return;
    this.#letGo(reason);
    this.#leaveTabs();
    this.#stopWatchingPage();
    this.#position.flush();
    this.#report({ state: "closed", reason, code });
    this.#topics.fail(reason);
  }

  #leaveTabs(): void {
    this.#tab?.leave();
    this.#tab = null;
  }

  #hear(message: ServerMessage): void {
    // An answer may have come by a request of its own, while the stream is dead.
    if (!("ref" in message)) this.#heardAt = Date.now();
    if (this.#options.relay?.(message, (answer) => this.#connection?.send?.(answer))) return;
    switch (message.kind) {
      case "welcome":
        return this.#welcomed(message);
      case "event":
        if (!message.isPast && !this.#seen.add(message.id, message.topic)) return;
        if (!message.isForeign) {
          this.#byType.get(message.type)?.emit(message.data, message);
          this.#onAny.emit(message);
        }
        // After the handlers: who has the position has had the event.
        if (!message.isPast) this.#moveTo(message.id);
        return;
      case "gap":
        this.#moveTo(message.id);
        this.#onRefresh.emit({ reason: "gap", id: message.id });
        return;
      case "reconnect":
        this.#hintMs = message.after_ms;
        return;
      case "identity":
        this.#identified(message);
        break;
      case "message":
        return this.#byType.get(` ${message.type}`)?.emit(message.data, message as any);
      case "ask":
        return void this.#answer(message);
      case "status":
        clearTimeout(this.#watch);
        return this.#report(message.status);
      case "unanswered":
        return this.#asked.get(message.ref)?.reject(new NoAnswerError(message.message, message.sent));
      case "error":
        return this.#asked.get(message.ref!)?.reject(new RefusalError(message.code, message.message));
      case "presence": {
        const { topic, users, connections, joined = [], left = [] } = message;
        const { members = this.#presence.get(topic)?.members?.filter((user) => !left.includes(user)).concat(joined).sort() ?? null } = message;
        const now = { topic, users, connections, members };
        this.#presence.set(topic, now);
        return this.#byType.get(`$${topic}`)?.emit(now, message as any);
      }
      case "subscribed": {
        const { topics, refused, events = [] } = message;
        const asked = this.#asked.get(message.ref);
        this.#moveTo(message.id);
        this.#topicsHeard([...this.#topics.received, ...topics], asked?.topics ?? topics, refused);
        // Those that nobody asked for are last values.
        if (!asked?.last) for (const event of events) this.#hear({ ...event, kind: "event", isPast: true });
        break;
      }
      case "unsubscribed":
        message.topics.forEach((topic) => this.#presence.delete(topic));
        this.#topicsHeard(this.#topics.received.filter((topic) => !message.topics.includes(topic)), []);
    }
    this.#asked.get((message as { ref: number }).ref)?.resolve(message);
  }

  #welcomed(welcome: ServerMessage & { kind: "welcome" }): void {
    this.#failures = this.#unwelcome = this.#refusedTokens = 0;
    this.#tokenReason = "connect";
    const { id, connection, user, pod, resumed, topics = [] } = welcome;
    if (resumed !== true) this.#position.value = { id, connection };
    this.#presence.clear(); // it is told anew
    this.#pingMs = (welcome.ping_interval ?? 0) * 1000;
    this.#watchSilence();
    const transport = welcome.transport ?? (this.#usesSse ? "sse" : "websocket");
    const unread = this.#topics.heard(topics, this.#topics.asked, welcome.refused);
    const expiresAt = momentIn(welcome.expires_in);
    this.#refreshLater(expiresAt);
    this.#reportOpen({ transport, user, connection, pod, resumed, expiresAt, topics });
    if (resumed !== true) {
      this.#onRefresh.emit({ reason: resumed === null ? "first" : "not_resumed", id });
    } else {
      for (const topic of new Set([...unread, ...(welcome.not_resumed ?? [])])) {
        this.#onRefresh.emit({ reason: unread.includes(topic) ? "first" : "not_resumed", id, topic });
      }
    }
    this.#nameTopicsSoon();
  }

  #identified(message: ServerMessage & { kind: "identity" }): void {
    const { user, topics = [] } = message;
    const expiresAt = momentIn(message.expires_in);
    this.#topicsHeard(topics, undefined, undefined, { user, expiresAt });
    this.#refreshLater(expiresAt);
  }

  #topicsHeard(
    topics: string[],
    asked?: string[],
    refused?: RefusedTopic[],
    changes: { user?: string | null; expiresAt?: number | null } = {},
  ): void {
    topics = [...new Set(topics)];
    const unread = this.#topics.heard(topics, asked, refused);
    if (this.#status.state === "open") this.#reportOpen({ ...this.#status, ...changes, topics });
    for (const topic of unread) this.#onRefresh.emit({ reason: "first", id: this.position!, topic });
  }

  /** Move on to an id that came on this connection. */
  #moveTo(id: string): void {
    const { connection } = this.#status as { connection: string };
    this.#position.value = { id, connection };
  }

  #ended(end: End): void {
    const wasOpen = this.#status.state === "open";
    let { reason } = end;
    const { code, verdict } = end;
    if (verdict === "token" && this.#options.getToken && (wasOpen || this.#refusedTokens++ === 0)) {
      this.#tokenReason = "refused";
      return void this.#start(reason || undefined);
    }
    if (verdict) {
      // Perhaps the topics are at fault.
      if ((code === 400 || code === 4400) && !wasOpen && this.#topics.areNew) {
        this.#topics.refusal = reason;
        return void this.#start(reason);
      }
      return this.#close(reason || `refused with ${code}`, code!);
    }
    reason ||= wasOpen ? "the connection was lost" : "the gateway could not be reached";
    this.#chooseTransport(end, wasOpen);
    const waitMs = this.#hintMs ?? end.afterMs ?? backoffMs(this.#failures);
    this.#failures++;
    this.#hintMs = null;
    this.#letGo(reason);
    this.#reportAttempt(reason, Date.now() + waitMs);
    this.#retry = setTimeout(() => this.#start(reason), waitMs);
  }

  /**
   * A browser shows a refused WebSocket as one that nothing came back from. An event stream gets
   * through where sockets do not, and is told the status of a refusal.
   */
  #chooseTransport({ code }: End, wasOpen: boolean): void {
    const { transport = "auto" } = this.#options;
    if (transport !== "auto" || !this.#WebSocket) return;
    if (this.#usesSse) {
      this.#usesSse = wasOpen; // else it was no better
      this.#unwelcome = 0;
    } else if (!wasOpen && (code === 1006 || !code) && ++this.#unwelcome >= 2) {
      this.#usesSse = true;
    }
  }

  /** Someone looks at the page, or the network changed. */
  #wake(): void {
    if (this.#status.state === "open") this.#watchSilence();
    else if ((this.#status as { retryAt?: number | null }).retryAt) {
      this.#failures = 0;
      void this.#start("the network may be back");
    }
  }

  /** Find a half-open connection: after a laptop's sleep, or where a node was lost. */
  #watchSilence(): void {
    clearTimeout(this.#watch);
    if (this.#pingMs === 0) return;
    const now = Date.now();
    this.#heardAt = Math.min(this.#heardAt, now); // the clock may have been set back
    const leftMs = this.#heardAt + SILENT_INTERVALS * this.#pingMs - now;
    if (leftMs <= 0) this.#ended({ reason: "the gateway went silent" });
    else this.#watch = setTimeout(() => this.#watchSilence(), leftMs);
  }

  #refreshLater(endsAt: number | null): void {
    clearTimeout(this.#refresh);
    if (endsAt === null || !this.#options.getToken) return;
    const afterMs = Math.min(TIMER_MAX_MS, (endsAt - Date.now()) * REFRESH_AT);
    const attempt = this.#attempt;
    const refresh = async () => {
      try {
        await this.#identify("expiring");
      } catch (error) {
        this.#failed(attempt, error as Error, () => {
          // The gateway ends the connection when the token has ended; a new one asks again.
          if (Date.now() < endsAt) this.#refresh = setTimeout(refresh, backoffMs(4) + 1_000);
        });
      }
    };
    this.#refresh = setTimeout(refresh, afterMs);
  }

  /** Send a message once there is a connection, and wait for its answer, all within a time. */
  async #ask(message: { kind: string; last?: number; topics?: string[]; [field: string]: unknown }, timeoutMs: number): Promise<ServerMessage> {
    const deadline = Date.now() + timeoutMs;
    await within<void>(timeoutMs, false, (resolve, reject) =>
      this.onStatus(({ state, reason }) => {
        if (state === "open") resolve();
        if (state === "closed") reject(new NoAnswerError(`closed: ${reason}`, false));
      }),
    );
    const send = this.#connection?.send;
    if (!send) throw new NoAnswerError("the gateway takes no messages", false);
    const ref = ++this.#ref;
    return within(deadline - Date.now(), true, (resolve, reject) => {
      this.#asked.set(ref, { ...message, resolve, reject });
      send({ ...message, ref });
      return () => this.#asked.delete(ref);
    });
  }

  #reportAttempt(reason: string, retryAt: number | null): void {
    this.#report({ state: "connecting", reason, failures: this.#failures, retryAt });
  }

  #reportOpen(fields: Omit<Open, "state" | "reason" | "forbidden">): void {
    const reason = fields.transport === "sse" ? "connected by server-sent events" : "connected";
    this.#report({ ...fields, state: "open", reason, forbidden: this.#topics.forbidden });
  }

  #report(status: Status): void {
    this.#status = status;
    this.#onStatus.emit(status);
  }
}

/**
 * A promise with a time limit.
 *
 * @param sent whether a message was sent when the time ends.
 * @param begin returns what is to be done once it has settled.
 */
function within<T>(
  ms: number,
  sent: boolean,
  begin: (resolve: (value: T) => void, reject: (error: Error) => void) => (() => void) | void,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  let end: (() => void) | void;
  return new Promise<T>((resolve, reject) => {
    timer = setTimeout(() => reject(new NoAnswerError("no answer in time", sent)), ms);
    end = begin(resolve, reject);
  }).finally(() => {
    clearTimeout(timer);
    end?.();
  });
}

function momentIn(seconds: number | null): number | null {
  return seconds === null ? seconds : Date.now() + seconds * 1000;
}

/** Make a client and connect it. */
export function createClient<
  Events extends Record<string, any> = Record<string, any>,
  Messages extends Calls = Record<string, { data: any; reply: any }>,
>(options: Options): Client<Events, Messages> {
  const client = new Client<Events, Messages>(options);
  client.connect();
  return client;
}
