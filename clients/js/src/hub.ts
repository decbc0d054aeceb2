import type { Client, Options, Refresh, Status } from "./client.js";
import type { NoAnswerError, RefusalError } from "./errors.js";
import type { ClarionEvent, End, Position, RefusedTopic, ServerMessage } from "./protocol.js";
import type { Recent } from "./recent.js";

// Topics of the hub before are kept for so long, until their tabs have come.
const HELD_MS = 15_000;
// A tab has its own, shorter limit.
const ANSWER_MS = 600_000;

/** What a tab says to the hub. */
export type Call =
  | { from: string; kind: "hello"; attempt: number; since: Position | null; topics: readonly string[]; told: readonly string[] }
  | { from: string; kind: "say"; message: Saying }
  | { from: string; kind: "probe" }
  | { from: string; kind: "bye" };

/** A message of a tab's client, as a gateway would get it. */
export interface Saying {
  kind: string;
  ref: number;
  [field: string]: any;
}

/** What a hub says: to one tab, or without `to` to all that it has welcomed. */
export interface Word {
  /** Which hub: a later one has a higher number. */
  readonly term: number;
  readonly to?: string;
  readonly attempt?: number;
  /** Also for those that it has not welcomed. */
  readonly isForAll?: boolean;
  readonly isLoggedOut: boolean;
  /** The topics that tabs have asked for, and the id from which the hub has had each. */
  readonly topics: Record<string, string>;
  readonly message?: ServerMessage;
  readonly end?: End;
}

/** Makes the client that is connected. */
export type MakeInner = (options: Pick<Options, "storage" | "topics" | "relay">) => Client<any, any>;

/** What a hub begins with: what its tab knows of the hub before. */
export interface Heritage {
  readonly term: number;
  readonly since: Position | null;
  readonly recent: Recent;
  readonly topics: Word["topics"];
  /** The topics of its own tab. */
  readonly wanted: readonly string[];
  readonly isLoggedOut: boolean;
}

interface Follower {
  attempt: number;
  since: Position | null;
  topics: readonly string[];
  refused: RefusedTopic[];
  told: Set<string>; // topics that it knows it receives: it fetched their state
  isSettled: boolean; // the gateway has said its word on the topics
  isOpen: boolean; // it was welcomed on this connection
  isKnown: boolean; // it was welcomed, perhaps on a connection before
}

type Open = Extract<Status, { state: "open" }>;

/** The connection of all tabs. */
export class Hub {
  readonly #tabs = new Map<string, Follower>();
  readonly #channel: BroadcastChannel;
  readonly #inner: Client<any, any>;
  #held: string[]; // topics of tabs that have not come yet
  readonly #since = new Map<string, string>(); // topic -> the id from which it is complete
  readonly #notResumed = new Set<string>();
  readonly #asks = new Map<number, { left: number; answer: (answer: object) => void }>();
  readonly #closed = new AbortController();
  readonly #heldTimer: ReturnType<typeof setTimeout>;
  #isLoggedOut: boolean;
  #before: Status | null = null; // the one before
  #lastUser: string | null | undefined;

  constructor(
    private readonly name: string,
    makeInner: MakeInner,
    private readonly heritage: Heritage,
  ) {
    this.#isLoggedOut = heritage.isLoggedOut;
    this.#held = Object.keys(heritage.topics);
    for (const [topic, id] of Object.entries(heritage.topics)) this.#since.set(topic, id);
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Call | Word>) => "from" in data && this.#called(data);
    const storage = { getItem: () => JSON.stringify(heritage.since), setItem() {} };
    // Their events are to be had from the old position on, so the first connection must name them all.
    const topics = [...new Set([...this.#held, ...heritage.wanted])];
    this.#held = topics;
    this.#inner = makeInner({ storage, topics, relay: (...message) => this.#relay(...message) });
    this.#heldTimer = setTimeout(() => this.#drop(this.#held.splice(0)), HELD_MS);
    if (this.#isLoggedOut) void this.#inner.logout();
    this.#inner.connect();
    this.#inner.onStatus((status) => this.#statusChanged(status));
    this.#inner.onRefresh((refresh) => this.#refresh(refresh));
    this.#inner.onAny((event) => this.#event(event));
    this.#post({}); // so that the tabs say hello
  }

  /** End it: another tab's hub goes on. */
  close(): void {
    clearTimeout(this.#heldTimer);
    this.#closed.abort();
    this.#inner.close();
    this.#channel.close();
  }

  #post(word: Omit<Word, "term" | "isLoggedOut" | "topics">): void {
    if (this.#closed.signal.aborted) return;
    const topics = Object.fromEntries(this.#since);
    this.#channel.postMessage({ term: this.heritage.term, isLoggedOut: this.#isLoggedOut, topics, ...word } satisfies Word);
  }

  #called(call: Call): void {
    if (call.kind === "hello") void this.#hello(call);
    else if (call.kind === "say") void this.#answer(call.from, call.message);
    else if (call.kind === "probe") this.#post({ to: call.from });
    else this.#forget(call.from);
  }

  async #hello({ from, attempt, since, topics, told: before }: Extract<Call, { kind: "hello" }>): Promise<void> {
    const known = this.#tabs.get(from);
    if (known?.attempt === attempt) return;
    const told = known?.told ?? new Set(before.filter((topic) => !this.#notResumed.has(topic)));
    const tab: Follower = { attempt, since, topics, refused: [], told, isSettled: false, isOpen: false, isKnown: false };
    this.#tabs.set(from, tab);
    if (!known) this.#watch(from);
    const { status } = this.#inner;
    if (status.state === "connecting") this.#post({ to: from, attempt, message: { kind: "status", status } });
    const subscribing = topics
      .filter((topic) => !known?.topics.includes(topic))
      .map((topic) => this.#inner.subscribe(topic).catch(({ code, message }) => code && tab.refused.push({ topic, code, message })));
    this.#drop(known?.topics.filter((topic) => !topics.includes(topic)) ?? []);
    await Promise.all(subscribing);
    tab.isSettled = true;
    this.#welcomeAll();
  }

  /** Wait for the end of a tab. */
  #watch(id: string): void {
    const { signal } = this.#closed;
    navigator.locks.request(`${this.name} ${id}`, { signal }, () => this.#forget(id)).catch(() => {}); // closed
  }

  #forget(id: string): void {
    const tab = this.#tabs.get(id);
    this.#tabs.delete(id);
    this.#drop(tab?.topics ?? []);
  }

  #drop(topics: readonly string[]): void {
    for (const topic of topics) this.#inner.unsubscribe(topic);
  }

  // What the connected client reports

  #statusChanged(status: Status): void {
    const before = this.#before;
    this.#before = status;
    if (status.state === "closed") {
      const { reason, code } = status;
      if (before) this.#post({ isForAll: true, end: { code, reason, verdict: "stop" } });
      return;
    }
    if (status.state === "connecting") {
      for (const tab of this.#tabs.values()) tab.isOpen = false;
      this.#post({ isForAll: true, message: { kind: "status", status } });
      return;
    }
    const { recent } = this.heritage;
    // Events of another user are no business of those that come later.
    const isOther = this.#lastUser !== undefined && this.#lastUser !== status.user;
    this.#lastUser = status.user;
    const position = this.#inner.position!;
    if (isOther || recent.last === null) recent.begin(position);
    if (before?.state === "open") return this.#identified(status);
    if (status.resumed !== true) {
      recent.begin(position);
      this.#since.clear();
    }
    this.#notResumed.clear();
    this.#asks.clear();
    this.#noteTopics(status);
    queueMicrotask(() => this.#welcomeAll()); // when it is known which topics were not resumed
  }

  #refresh({ reason, id, topic }: Refresh): void {
    if (reason === "gap") {
      this.heritage.recent.begin(id);
      this.#post({ message: { kind: "gap", id } });
    } else if (topic !== undefined) {
      this.#since.set(topic, id);
      if (reason !== "not_resumed") return;
      this.#notResumed.add(topic);
      for (const { told } of this.#tabs.values()) told.delete(topic);
    }
  }

  /** Pass on what the application says to this connection: to all tabs. */
  #relay(message: ServerMessage, answer: (answer: object) => void): boolean {
    if (message.kind === "ask") {
      const open = [...this.#tabs.values()].filter(({ isOpen }) => isOpen);
      this.#asks.set(message.ref, { left: open.length, answer });
    } else if (message.kind === "presence") {
      for (const [to, tab] of this.#tabs) if (tab.isOpen && tab.told.has(message.topic)) this.#tell(to, tab, message);
      return false; // the client keeps it, for tabs that come later
    } else if (message.kind !== "message") return false;
    this.#post({ message });
    return true;
  }

  /** The first tab that knows the question answers it. */
  #answered(ref: number, answer: Record<string, any>): void {
    const ask = this.#asks.get(ref);
    if (!ask || (answer["error"]?.code === "unknown_type" && --ask.left > 0)) return;
    this.#asks.delete(ref);
    ask.answer({ kind: "answer", ref, ...answer });
  }

  #event(event: ClarionEvent & { isPast?: boolean }): void {
    this.#welcomeAll();
    if (event.isPast) this.heritage.recent.keep(event);
    else this.heritage.recent.add(event);
    this.#post({ message: { kind: "event", ...event } });
  }

  #identified(status: Open): void {
    this.#noteTopics(status);
    for (const [to, tab] of this.#tabs) {
      if (!tab.isOpen) continue;
      const topics = this.#topicsOf(tab, status);
      const added = topics.filter((topic) => !tab.told.has(topic));
      tab.told = new Set(topics);
      const message = { kind: "identity" as const, ref: null, user: status.user, expires_in: null, topics };
      this.#tell(to, tab, message);
      this.#tellPresence(to, tab, added);
    }
  }

  /** From which id on each asked topic is complete. */
  #noteTopics({ topics }: Open): void {
    for (const topic of this.#since.keys()) if (!topics.includes(topic)) this.#since.delete(topic);
    for (const topic of topics) {
      if (this.#isAsked(topic) && !this.#since.has(topic)) this.#since.set(topic, this.#inner.position!);
    }
  }

  #isAsked(topic: string): boolean {
    return this.#held.includes(topic) || [...this.#tabs.values()].some(({ topics }) => topics.includes(topic));
  }

  /** Those that the tab asked for, and those that nobody needs to ask for. */
  #topicsOf(tab: Follower, { topics }: Open): string[] {
    return topics.filter((topic) => tab.topics.includes(topic) || !this.#since.has(topic));
  }

  /** Welcome the tabs that have come, and once more those that were there before the connection was lost. */
  #welcomeAll(): void {
    const { status } = this.#inner;
    if (status.state !== "open") return;
    for (const [to, tab] of this.#tabs) if (tab.isSettled && !tab.isOpen) this.#welcome(to, tab, status);
  }

  #welcome(to: string, tab: Follower, status: Open): void {
    const { since, attempt, refused } = tab;
    const position = this.#inner.position!;
    const missed = tab.isKnown || !since ? [] : this.heritage.recent.after(since.id);
    const resumed = tab.isKnown ? status.resumed === true : since && missed !== null;
    const topics = this.#topicsOf(tab, status);
    const isLate = (topic: string) =>
      tab.isKnown
        ? this.#notResumed.has(topic)
        : since !== null && !tab.told.has(topic) && Number(this.#since.get(topic) ?? 0) > Number(since.id);
    const { user, pod, connection, transport } = status;
    const id = resumed && since && !tab.isKnown ? since.id : position;
    this.#post({
      to,
      attempt,
      message: {
        kind: "welcome", id, user, pod, connection, transport, resumed, topics,
        expires_in: null, not_resumed: topics.filter(isLate), refused,
      },
    });
    const isMissed = ({ id, topic }: ClarionEvent) => missed?.some((event) => event.id === id && event.topic === topic);
    for (const event of this.heritage.recent.lastValues) {
      if (tab.told.has(event.topic!) || isMissed(event)) continue;
      this.#post({ to, attempt, message: { kind: "event", ...event, isPast: true } });
    }
    for (const event of missed ?? []) this.#post({ to, attempt, message: { kind: "event", ...event } });
    tab.isOpen = tab.isKnown = true;
    tab.told = new Set(topics);
    this.#tellPresence(to, tab, topics);
  }

  #tell(to: string, { attempt }: Follower, message: ServerMessage): void {
    this.#post({ to, attempt, message });
  }

  /** Who receives these topics, as far as that is known. */
  #tellPresence(to: string, tab: Follower, topics: readonly string[]): void {
    for (const topic of topics) {
      const stop = this.#inner.onPresence(topic, (now) => this.#tell(to, tab, { kind: "presence", ...now }));
      stop(); // later changes are told as they come
    }
  }

  // What a tab asks

  async #answer(to: string, { kind, ref, ...message }: Saying): Promise<void> {
    if (kind === "answer") return this.#answered(ref, message);
    const attempt = this.#tabs.get(to)?.attempt ?? 0;
    const answer = (message: ServerMessage) => this.#post({ to, attempt, message });
    try {
      if (kind === "message") {
        const data = await this.#inner.send(message.type, message.data, { timeout: ANSWER_MS });
        return answer({ kind: "reply", ref, data });
      }
      if (kind === "subscribe") {
        const { topics, last } = message;
        const { events } = await this.#inner.subscribe(topics[0], { last });
        this.#inner.unsubscribe(topics[0]); // its tab is subscribed itself
        return answer({ kind: "subscribed", ref, id: this.#inner.position!, topics, events });
      }
      this.#isLoggedOut = message.isLogout;
      await (message.isLogout ? this.#inner.logout() : this.#inner.login());
      answer({ kind: "reply", ref, data: null });
    } catch (error) {
      // By their fields: these errors' classes stand in another file.
      const { message, code, sent = false } = error as Error & Partial<RefusalError & NoAnswerError>;
      answer(code ? { kind: "error", ref, code, message } : { kind: "unanswered", ref, message, sent });
    }
  }
}
