import { address, type Beginning, type Connection, type Listener } from "./protocol.js";
import { AFTER_CLOSE } from "./verdicts.js";

/** The part of the browser's `WebSocket` that the client uses; the one of `ws` has it too. */
export interface WebSocketLike {
  readonly readyState: number;
  onmessage: ((event: { data: any }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(): void;
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

const OPEN = 1;

/** Connect by WebSocket, subprotocol `clarion.v1`. */
export function openWebSocket(
  WebSocket: WebSocketConstructor,
  base: URL,
  beginning: Beginning,
  listener: Listener,
): Connection {
  // A browser cannot send an Authorization header with a WebSocket, and a query may be logged.
  const { token } = beginning;
  const protocols = ["clarion.v1", ...(token === null ? [] : [`clarion.bearer.${token}`])];
  const socket = new WebSocket(address(base, "ws", beginning).href, protocols);
  socket.onmessage = ({ data }) => listener.message(JSON.parse(data));
  socket.onclose = ({ code, reason }) => listener.ended({ code, reason, verdict: AFTER_CLOSE[code] });
  socket.onerror = () => {}; // `close` follows, and says as much
  return {
    send(message) {
      if (socket.readyState === OPEN) socket.send(JSON.stringify(message));
    },
    close() {
      socket.onmessage = socket.onclose = null;
      socket.close();
    },
  };
}
