// Producers of Socket.IO, driven over pipes: a command is a line of JSON with the producer and the
// calls that are made on it, one on the result of the other. Each is reported when Redis has it.
import { createInterface } from "node:readline";
import { Emitter } from "@socket.io/redis-emitter";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const { url, key, stream } = JSON.parse(process.argv[2]);
const client = await createClient({ url }).connect();
const written = [];
// The libraries do not wait for Redis themselves.
const watched = new Proxy(client, {
  get(target, name) {
    const value = Reflect.get(target, name, target);
    if (typeof value !== "function") return value;
    return (...args) => {
      const result = value.apply(target, args);
      if (name === "publish" || name === "xAdd") written.push(result);
      return result;
    };
  },
});
const producers = {
  emitter: new Emitter(watched, { key }),
  stream: new Server({ adapter: createAdapter(watched, { streamName: stream }) }),
};
const revived = (value) =>
  value?.bytes ? Buffer.from(value.bytes) : value?.date !== undefined ? new Date(value.date) : value;

for await (const line of createInterface({ input: process.stdin })) {
  const { producer, calls } = JSON.parse(line);
  let target = producers[producer];
  for (const [name, ...args] of calls) {
    target = name === "volatile" ? target.volatile : target[name](...args.map(revived));
  }
  await Promise.all(written.splice(0));
  process.stdout.write(`${JSON.stringify({ kind: "written" })}\n`);
}
process.exit(0);
