// uWebSockets.js, to compare Clarion with: one Redis channel, published to a topic in C++.
// Usage: node uws.mjs PORT REDIS_URL CHANNEL. Accepts connections once it is subscribed.
import uws from "@trufflesuite/uws-js-unofficial";
import { createClient } from "redis";

const [port, redisUrl, channel] = process.argv.slice(2);
if (!uws.SSLApp) {
  console.error("uWebSockets has no binary for this platform and Node version");
  process.exit(1);
}

const subscriber = await createClient({ url: redisUrl }).connect();
const app = uws.App();
app.ws("/*", {
  // The default of 64 KB would skip messages for slow sockets; no other server skips any.
  maxBackpressure: 64 * 1024 * 1024,
  open: (socket) => socket.subscribe("all"),
});
// The `true` asks for Buffers; topics are sent as text frames.
await subscriber.subscribe(channel, (message) => app.publish("all", message, false), true);
app.listen("127.0.0.1", Number(port), (listening) => listening || process.exit(1));
