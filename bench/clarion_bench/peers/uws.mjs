// uWebSockets.js, to compare Clarion with: one Redis channel, published to a topic in C++.
// Usage: node uws.mjs PORT REDIS_URL CHANNEL [deflate]. Accepts connections once it is subscribed.
import uws from "@trufflesuite/uws-js-unofficial";
import { createClient } from "redis";

const [port, redisUrl, channel, option] = process.argv.slice(2);
const deflate = option === "deflate";
if (!uws.SSLApp) {
  console.error("uWebSockets has no binary for this platform and Node version");
  process.exit(1);
}

const subscriber = await createClient({ url: redisUrl }).connect();
const app = uws.App();
app.ws("/*", {
  // The default of 64 KB would skip messages for slow sockets; no other server skips any.
  maxBackpressure: 64 * 1024 * 1024,
  compression: deflate ? uws.SHARED_COMPRESSOR : uws.DISABLED,
  open: (socket) => socket.subscribe("all"),
});
// The `true` asks for Buffers; topics are sent as text frames.
await subscriber.subscribe(channel, (message) => app.publish("all", message, false, deflate), true);
app.listen("127.0.0.1", Number(port), (listening) => listening || process.exit(1));
