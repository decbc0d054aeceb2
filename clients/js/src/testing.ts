/** A gateway in memory, for the unit tests of an application: no server, no network, no waiting. */
import type { ClarionEvent, WebSocketConstructor, WebSocketLike } from "./index.js";

export type Audience = "all" | "authenticated" | { user: string } | { topic: string };

/** What a fake gateway does with a message: the reply, or it throws an error with a `code`. */
export type Handler = (data: any, context: { user: string | null; connection: string }) => unknown;

export interface GatewayOptions {
  /** The user of a token; null: it is refused. By default the token is the user's id. */
  userOf?: (token: string) => string | null;
  /** Whether a user may receive a topic that the client asks for. By default: yes. */
  allows?: (user: string | null, topic: string) => boolean;
  /** Whether subscribers of a topic get its newest event, as by the rule `last_value`. By default: no. */
  lastValue?: (topic: string) => boolean;
}

interface Published {
  readonly audience: Audience;
  readonly event: ClarionEvent;
}

/**
 * A gateway for tests.
 *
 * @example
 * const gateway = createGateway();
 * const client = createClient({ ...gateway.options, getToken: () => "alice" });
 * gateway.handle("chat.message", ({ text }) => ({ text }));
 * gateway.publish({ user: "alice" }, "order.updated", { id: 42 });
 */
export class Gateway {
  readonly #connections = new Set<FakeSocket>();
  readonly #handlers = new Map<string, Handler>();
  readonly #userOf: (token: string) => string | null;
  readonly #allows: (user: string | null, topic: string) => boolean;
  readonly #lastValue: (topic: string) => boolean;
  #history: Published[] = [];
  #begin = 1_000_000;
  #last = 1_000_000;
  #made = 0;
  readonly #asks = new Map<number, (answer: object) => void>();
  #asked = 0;
  #refusal: { code: number; reason: string } | null = null;

  constructor({ userOf = (token) => token, allows = () => true, lastValue = () => false }: GatewayOptions = {}) {
    this.#userOf = userOf;
    this.#allows = allows;
    this.#lastValue = lastValue;
  }

  /** For `createClient`. */
  get options(): { url: string; WebSocket: WebSocketConstructor; transport: "websocket" } {
    const gateway = this;
    class WebSocket extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super({
          opened: (socket) => gateway.#opened(socket, new URL(url), protocols),
          said: (socket, text) => void gateway.#said(socket, text),
          left: (socket) => gateway.#connections.delete(socket),
        });
      }
    }
    return { url: "http://gateway.test", WebSocket, transport: "websocket" };
  }

  /** The connections that are open, with what each is. */
  get connections(): readonly { readonly connection: string; readonly user: string | null; readonly topics: readonly string[] }[] {
    return [...this.#connections].map(({ connection, user, topics }) => ({ connection, user, topics: [...topics] }));
  }

  /** Ask all clients, as `context.ask` does; resolves with the answer of each: `{ data }` or `{ error }`. */
  ask(type: string, data: unknown = null): Promise<{ data?: unknown; error?: { code: string; message?: string } }[]> {
    return Promise.all(
      [...this.#connections].map((socket) => {
        const ref = ++this.#asked;
        socket.hear({ kind: "ask", ref, type, data });
        return new Promise<object>((resolve) => this.#asks.set(ref, resolve));
      }),
    );
  }

  /** Send all clients a message, as `context.send` does. */
  send(type: string, data: unknown = null): void {
    for (const socket of this.#connections) socket.hear({ kind: "message", type, data });
  }

  /** Answer messages of a type. */
  handle(type: string, handler: Handler): void {
    this.#handlers.set(type, handler);
  }

  /** Publish an event to those that receive it, now or when they come back; returns its id. */
  publish(audience: Audience, type: string, data: unknown = null): string {
    const id = String(++this.#last);
    const time = new Date(this.#last / 1000).toISOString();
    const kind = typeof audience === "string" ? audience : Object.keys(audience)[0]!;
    const topic = typeof audience === "object" && "topic" in audience ? { topic: audience.topic } : {};
    const published = { audience, event: { id, type, data, time, audience: kind, ...topic } };
    this.#history.push(published);
    for (const socket of this.#connections) this.#deliver(socket, published);
    return id;
  }

  /** Tell the clients that receive a topic who does, as a gateway does where the topic's rule says so. */
  tellPresence(topic: string, members: readonly string[]): void {
    const told = { kind: "presence", topic, users: members.length, connections: members.length, members };
    for (const socket of this.#connections) if (socket.topics.has(topic)) socket.hear(told);
  }

  /** End all connections, as a lost network does; the clients come back. */
  drop(): void {
    this.#end(1006, "");
  }

  /** End all connections with a close code and a reason, and refuse new ones until `accept`. */
  refuse(code: number, reason: string): void {
    this.#refusal = { code, reason };
    this.#end(code, reason);
  }

  /** Let clients in again. */
  accept(): void {
    this.#refusal = null;
  }

  /** Forget all events, so that a client that comes back is not resumed. */
  forget(): void {
    this.#history = [];
    this.#begin = ++this.#last;
  }

  /** Tell all clients that events may be missing. */
  gap(): void {
    this.forget();
    for (const socket of this.#connections) socket.hear({ kind: "gap", id: String(this.#last) });
  }

  #end(code: number, reason: string): void {
    for (const socket of [...this.#connections]) this.#close(socket, code, reason);
  }

  #close(socket: FakeSocket, code: number, reason: string): void {
    this.#connections.delete(socket);
    socket.end(code, reason);
  }

  #opened(socket: FakeSocket, { searchParams }: URL, protocols: string[]): void {
    if (this.#refusal) return socket.end(this.#refusal.code, this.#refusal.reason);
    const prefix = "clarion.bearer.";
    const token = protocols.find((name) => name.startsWith(prefix))?.slice(prefix.length) ?? null;
    socket.user = token === null ? null : this.#userOf(token);
    if (token !== null && socket.user === null) return socket.end(4401, "expected a valid token");
    socket.connection = `connection-${++this.#made}`;
    socket.topics = new Set(searchParams.getAll("topic").filter((topic) => this.#allows(socket.user, topic)));
    const since = searchParams.get("since");
    const isCovered = since !== null && Number(since) >= this.#begin && Number(since) <= this.#last;
    const resumed = since === null ? null : isCovered;
    const { user, connection, topics } = socket;
    socket.hear({
      kind: "welcome", connection, user, pod: "fake", id: resumed ? since : String(this.#last), resumed,
      expires_in: null, ping_interval: 0, topics: [...topics],
    });
    this.#connections.add(socket);
    if (!resumed) {
      const events = [...topics].flatMap((topic) => this.#past(topic, 0));
      const id = String(this.#last);
      if (events.length > 0) socket.hear({ kind: "subscribed", ref: null, id, topics: [...topics], events });
      return;
    }
    for (const published of this.#history) if (Number(published.event.id) > Number(since)) this.#deliver(socket, published);
  }

  #deliver(socket: FakeSocket, { audience, event }: Published): void {
    const isFor =
      audience === "all" ||
      (audience === "authenticated" && socket.user !== null) ||
      (typeof audience === "object" &&
        ("user" in audience ? audience.user === socket.user : socket.topics.has(audience.topic)));
    if (isFor) socket.hear({ kind: "event", ...event });
  }

  #past(topic: string, last: number): ClarionEvent[] {
    const all = this.#history.map(({ event }) => event).filter((event) => event.topic === topic);
    const count = last || Number(this.#lastValue(topic));
    return count > 0 ? all.slice(-count) : [];
  }

  async #said(socket: FakeSocket, text: string): Promise<void> {
    const { kind, ref, type, data, token, topics, last = 0, error } = JSON.parse(text);
    const answer = (message: object) => this.#connections.has(socket) && socket.hear({ ref, ...message });
    if (kind === "answer") return this.#asks.get(ref)?.(error ? { error } : { data });
    if (kind === "auth") {
      const user = token === null ? null : this.#userOf(token);
      if (token !== null && user === null) return void answer({ kind: "error", code: "unauthenticated", message: "expected a valid token" });
      socket.user = user;
      for (const topic of socket.topics) if (!this.#allows(user, topic)) socket.topics.delete(topic);
      return void answer({ kind: "identity", user, expires_in: null, topics: [...socket.topics] });
    }
    if (kind === "subscribe") {
      const allowed = topics.filter((topic: string) => this.#allows(socket.user, topic));
      for (const topic of allowed) socket.topics.add(topic);
      const forbidden = topics.filter((topic: string) => !allowed.includes(topic));
      const events = allowed.flatMap((topic: string) => this.#past(topic, last));
      return void answer({ kind: "subscribed", id: String(this.#last), topics: allowed, forbidden, events });
    }
    if (kind === "unsubscribe") {
      for (const topic of topics) socket.topics.delete(topic);
      return void answer({ kind: "unsubscribed", topics });
    }
    const handler = this.#handlers.get(type);
    if (!handler) return void answer({ kind: "error", code: "unknown_type", message: `no handler for ${type}` });
    try {
      const { user, connection } = socket;
      answer({ kind: "reply", data: (await handler(data, { user, connection })) ?? null });
    } catch (error) {
      const { code = "internal_error", message } = error as { code?: string; message: string };
      answer({ kind: "error", code, message });
    }
  }
}

/** Make a gateway in memory. */
export function createGateway(options?: GatewayOptions): Gateway {
  return new Gateway(options);
}

/** The gateway's side of a socket. */
interface Side {
  opened(socket: FakeSocket): void;
  said(socket: FakeSocket, text: string): void;
  left(socket: FakeSocket): void;
}

class FakeSocket implements WebSocketLike {
  readyState = 0;
  onmessage: ((event: { data: any }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: ((event: any) => void) | null = null;
  connection = "";
  user: string | null = null;
  topics = new Set<string>();

  constructor(private readonly side: Side) {
    queueMicrotask(() => {
      if (this.readyState !== 0) return; // closed before
      this.readyState = 1;
      side.opened(this);
    });
  }

  send(text: string): void {
    queueMicrotask(() => this.readyState === 1 && this.side.said(this, text));
  }

  close(): void {
    this.readyState = 3;
    this.side.left(this);
  }

  /** As JSON, so that nobody shares an object with the test. */
  hear(message: object): void {
    const data = JSON.stringify(message);
    queueMicrotask(() => this.readyState === 1 && this.onmessage?.({ data }));
  }

  end(code: number, reason: string): void {
    queueMicrotask(() => {
      if (this.readyState !== 1) return;
      this.readyState = 3;
      this.onclose?.({ code, reason });
    });
  }
}
