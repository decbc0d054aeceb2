import { address, type Beginning, type Connection, type Listener, type ServerMessage } from "./protocol.js";
import { AFTER_STREAM } from "./verdicts.js";

/**
 * Connect by server-sent events. `EventSource` cannot send an Authorization header, hides the status
 * of a refusal, and passes on only types that are known beforehand, so this reads the stream itself.
 */
export function openEventStream(base: URL, beginning: Beginning, listener: Listener): Connection {
  const { token } = beginning;
  const abort = new AbortController();
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (token !== null) headers["Authorization"] = `Bearer ${token}`;
  const options: RequestInit = { headers, cache: "no-store", signal: abort.signal };
  const bare = address(base, "sse", { since: null, topics: [] });
  const connection: { -readonly [Key in keyof Connection]: Connection[Key] } = { close: () => abort.abort() };
  const welcomed = (welcome: Welcome) => {
    if (!welcome.messages) return;
    const url = new URL(bare);
    url.searchParams.set("connection", welcome.connection);
    url.searchParams.set("pod", welcome.pod);
    connection.send = (message) => void post(url, { ...options, method: "POST" }, message as Asking, listener);
  };
  fetch(address(base, "sse", beginning), options)
    .then((response) => {
      const type = response.headers.get("Content-Type") ?? "nothing";
      if (!response.ok) return refused(response, listener);
      if (type.startsWith("text/event-stream")) return read(response, listener, welcomed);
      abort.abort();
      listener.ended({ reason: `expected a gateway at ${bare}, which answered with ${type}` });
    })
    .catch(async (error: Error) => {
      // A forbidden page may not send the header, and learns no more than that. It may read the
      // refusal of a request without one.
      const plain = token === null ? null : await fetch(bare, { signal: abort.signal }).catch(() => null);
      if (abort.signal.aborted) return;
      if (plain && !plain.ok) return refused(plain, listener);
      plain?.body?.cancel();
      listener.ended({ reason: error.message });
    });
  return connection;
}

type Welcome = Extract<ServerMessage, { kind: "welcome" }>;
type Asking = { ref: number };

const ACCEPTED = 202;

/** Send a message by a request of its own. The answer is what a WebSocket would bring, or a problem document. */
async function post(url: URL, options: RequestInit, message: Asking, listener: Listener): Promise<void> {
  const { ref } = message;
  const unanswered = (message: string, sent: boolean) => listener.message({ kind: "unanswered", ref, message, sent });
  const headers = { ...options.headers, "Content-Type": "application/json" };
  try {
    const response = await fetch(url, { ...options, headers, body: JSON.stringify(message) });
    if (response.status === ACCEPTED) return; // the answer comes by the stream
    const answer = await response.json();
    const { code, detail } = answer;
    if (response.ok) listener.message(answer);
    else if (code in LOST) unanswered(detail, LOST[code]!);
    else listener.message({ kind: "error", ref, code: code ?? String(response.status), message: detail });
  } catch (error) {
    unanswered((error as Error).message, true); // the network, or a proxy's own page
  }
}

/** By the problem's code, where no handler has answered: whether one may have run. */
const LOST: Record<string, boolean> = { unknown_connection: false, no_answer: true };

async function refused(response: Response, listener: Listener): Promise<void> {
  const problem = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  listener.ended({
    code: response.status,
    verdict: AFTER_STREAM[response.status],
    reason: problem.detail ?? `refused with status ${response.status}`,
    ...(seconds >= 0 && { afterMs: seconds * 1000 }),
  });
}

async function read(response: Response, listener: Listener, welcomed: (welcome: Welcome) => void): Promise<void> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let code: number | string = "";
  let reason = "the stream ended";
  let afterMs: number | undefined;
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const fields = fieldsOf(block);
      if (fields["retry"]) afterMs = Number(fields["retry"]);
      const message = messageOf(fields);
      if (message?.kind === "welcome") welcomed(message);
      if (message?.kind === "error" && !("ref" in message)) ({ code, message: reason } = message); // the last words
      else if (message) listener.message(message);
    }
  }
  listener.ended({ code, reason, verdict: AFTER_STREAM[code], ...(afterMs !== undefined && { afterMs }) });
}

function fieldsOf(block: string): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name) fields[name] = name === "data" && "data" in fields ? `${fields[name]}\n${value}` : value!;
  }
  return fields;
}

/** Names that begin with `$` are the gateway's own messages; a comment is a sign of life. */
function messageOf({ event, data, id, topic }: Record<string, string>): ServerMessage | null {
  if (!event) return { kind: "ping" };
  const value = data ? JSON.parse(data) : {};
  if (event.startsWith("$")) return { kind: event.slice(1), id, ...value };
  if (id === undefined) return { kind: "message", type: event, data: value }; // it moves no position
  const time = new Date(Number(id) / 1000).toISOString();
  return { kind: "event", id, type: event, time, data: value, ...(topic !== undefined && { audience: "topic", topic }) };
}
