// The `ws` package, to compare Clarion with: one Redis channel, broadcast to every socket.
// Usage: node ws.mjs PORT REDIS_URL CHANNEL [deflate]. Accepts connections once it is subscribed.
import { createClient } from "redis";
import { WebSocket, WebSocketServer } from "ws";

const [port, redisUrl, channel, option] = process.argv.slice(2);
// The default threshold of 1,024 bytes would leave the bench's events of 150 bytes uncompressed.
const perMessageDeflate = option === "deflate" ? { threshold: 0 } : false;
const subscriber = await createClient({ url: redisUrl }).connect();
let clients = new Set();

function broadcast(message) {
  for (const socket of clients) {
    if (socket.readyState === WebSocket.OPEN) socket.send(message, { binary: false });
  }
}

// Buffers (the `true`), so that ws need not encode the same string once per socket.
await subscriber.subscribe(channel, broadcast, true);
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(port),
  backlog: 4096,
  perMessageDeflate,
});
server.on("connection", (socket) => socket.on("error", () => socket.terminate()));
clients = server.clients;
