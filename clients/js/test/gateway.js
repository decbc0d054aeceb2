// A stand-in for a gateway on a real socket: each test says what it answers.
import { once } from "node:events";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

/**
 * @param {(socket: import("ws").WebSocket, url: URL, token: string | null) => void} onSocket
 * @param {import("node:http").RequestListener} [onRequest] for `/sse`.
 */
export async function startGateway(onSocket, onRequest = (_, response) => response.writeHead(404).end()) {
  const http = createServer(onRequest);
  const server = new WebSocketServer({ server: http, path: "/ws", handleProtocols: () => "clarion.v1" });
  server.on("connection", (socket, request) => {
    const offered = request.headers["sec-websocket-protocol"]?.split(/, */) ?? [];
    const bearer = offered.find((name) => name.startsWith("clarion.bearer."));
    onSocket(socket, new URL(request.url, "http://gateway"), bearer?.slice("clarion.bearer.".length) ?? null);
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  return {
    url: `http://127.0.0.1:${http.address().port}`,
    async stop() {
      for (const socket of server.clients) socket.terminate();
      server.close();
      http.closeAllConnections();
      http.close();
      await once(http, "close");
    },
  };
}

export const welcome = (fields = {}) => ({
  kind: "welcome", connection: "c1", user: null, pod: "p", id: "1", resumed: null, expires_in: null, ...fields,
});

export const event = (id, type = "tick", data = {}) => ({
  kind: "event", id: String(id), audience: "all", type, time: "2026-01-01T00:00:00.000000Z", data,
});

/** Send JSON messages. */
export const say = (socket, ...messages) => messages.forEach((message) => socket.send(JSON.stringify(message)));

/** A promise with its own resolve. */
export function promised() {
  let resolve;
  const promise = new Promise((done) => (resolve = done));
  return Object.assign(promise, { resolve });
}

/** The first status of the client that fits. */
export function status(client, fits) {
  const wanted = typeof fits === "string" ? ({ state }) => state === fits : fits;
  return new Promise((resolve) => {
    const stop = client.onStatus((now) => {
      if (!wanted(now)) return;
      resolve(now);
      queueMicrotask(() => stop());
    });
  });
}
