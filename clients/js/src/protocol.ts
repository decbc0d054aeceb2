import type { Status } from "./client.js";
import type { Verdict } from "./verdicts.js";

/** An event, as a handler gets it. */
export interface ClarionEvent<Type extends string = string, Data = unknown> {
  /** The position that this event stands for. */
  readonly id: string;
  readonly type: Type;
  readonly data: Data;
  /** When it was published. RFC 3339, UTC, microseconds. */
  readonly time: string;
  /** `all`, `authenticated`, `user` or `topic`; on server-sent events only `topic`, else missing. */
  readonly audience?: string;
  /** The topic's name, if the audience is one. */
  readonly topic?: string;
}

/** Who receives a topic, on all gateways. */
export interface Presence {
  readonly topic: string;
  /** Users with a connection that receives the topic. */
  readonly users: number;
  /** Their connections, and those of anonymous clients. */
  readonly connections: number;
  /** The ids of these users, in order; null: they are too many to be named. */
  readonly members: readonly string[] | null;
}

/** What a gateway sends, as far as the client reads it: docs/protocol.md. */
export type ServerMessage =
  | {
      kind: "welcome";
      id: string;
      connection: string;
      user: string | null;
      pod: string;
      resumed: boolean | null;
      expires_in: number | null;
      ping_interval?: number;
      topics?: string[];
      not_resumed?: string[];
      refused?: RefusedTopic[];
      /** On an event stream: messages go by POST. */
      messages?: "post";
      /** From a hub of tabs (hub.ts): how it is connected. */
      transport?: "websocket" | "sse";
    }
  // isPast: published before the client received its topic, so it moves no position.
  // isForeign, from a hub of tabs: another tab asked for the event's topic.
  | ({ kind: "event"; isPast?: boolean; isForeign?: boolean } & ClarionEvent)
  // From a hub of tabs: it is not connected.
  | { kind: "status"; status: Status }
  // From a hub of tabs, or a request: nothing came of a message.
  | { kind: "unanswered"; ref: number; message: string; sent: boolean }
  | { kind: "gap"; id: string }
  | { kind: "reconnect"; after_ms: number }
  | { kind: "identity"; ref: number | null; user: string | null; expires_in: number | null; topics?: string[] }
  | { kind: "reply"; ref: number; data: unknown }
  | { kind: "error"; ref: number | null; code: string; message: string }
  | { kind: "message"; type: string; data: unknown }
  | { kind: "ask"; ref: number; type: string; data: unknown }
  | {
      kind: "subscribed";
      ref: number; // null: after `welcome`, or by the application
      id: string;
      topics: string[];
      forbidden?: string[];
      refused?: RefusedTopic[];
      events?: ClarionEvent[];
    }
  | { kind: "unsubscribed"; ref: number; topics: string[] }
  // With `members`: everything; without: what has changed.
  | {
      kind: "presence";
      topic: string;
      users: number;
      connections: number;
      members?: readonly string[] | null;
      joined?: string[];
      left?: string[];
    }
  | { kind: "ping" };

/** A topic that the application refuses, and why. */
export interface RefusedTopic {
  readonly topic: string;
  readonly code: string;
  readonly message: string;
}

/** Why a connection ended. */
export interface End {
  /** A WebSocket close code, an HTTP status, or an error's label; missing: nothing came through. */
  readonly code?: number | string;
  readonly reason: string;
  /** What to do; missing: come back. */
  readonly verdict?: Verdict | undefined;
  /** Wait exactly so long, in milliseconds, before the next attempt; the server's wish. */
  readonly afterMs?: number;
}

/** What a transport tells the client. After `ended` it tells nothing more. */
export interface Listener {
  message(message: ServerMessage): void;
  ended(end: End): void;
}

/** One connection. */
export interface Connection {
  /** Send a message; undefined where the gateway takes none. By an event stream, no `auth` and no `answer`. */
  readonly send?: (message: object) => void;
  /** Let go of it. `ended` is not called. */
  close(): void;
}

/** What a connection is to begin with. */
export interface Beginning {
  readonly token: string | null;
  readonly since: Position | null;
  readonly topics: readonly string[];
}

/** The address of one of the gateway's paths, `ws` or `sse`, with the client's position and topics. */
export function address(base: URL, path: "ws" | "sse", { since, topics }: Omit<Beginning, "token">): URL {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/(ws|sse)?$/, "")}/${path}`;
  url.protocol = url.protocol.replace(/^(http|ws)/, path === "ws" ? "ws" : "http");
  if (since) {
    url.searchParams.set("since", since.id);
    if (since.connection) url.searchParams.set("connection", since.connection);
  }
  for (const topic of topics) url.searchParams.append("topic", topic);
  return url;
}

/** The last id that the client has, and the connection on which it had it. */
export interface Position {
  readonly id: string;
  readonly connection: string | null;
}
