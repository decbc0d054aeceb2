// socket.io with @socket.io/redis-adapter, to compare Clarion with. Events arrive through the
// adapter in the wire format of @socket.io/redis-emitter, as they would from another pod.
// Usage: node socketio.mjs PORT REDIS_URL CHANNEL. Accepts connections once it is subscribed.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, redisUrl, channel] = process.argv.slice(2);
const publisher = await createClient({ url: redisUrl }).connect();
const subscriber = await publisher.duplicate().connect();

const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber, { key: channel }),
  serveClient: false,
  transports: ["websocket", "polling"],
});
// The adapter does not report its subscription: ask the connection, which answers in order.
await subscriber.ping();
http.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
// Shut down as its documentation says: disconnect every client, then end the process.
process.on("SIGTERM", () => io.close(() => process.exit(0)));
