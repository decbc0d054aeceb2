// One client, driven over pipes: reports go to standard output, commands come by standard input,
// each a line of JSON.
import { createInterface } from "node:readline";
import { WebSocket } from "ws";
import { createClient, fetchToken } from "@clarion/client";

const { tokenUrl, ...options } = JSON.parse(process.argv[2]);
const report = (kind, fields) => process.stdout.write(`${JSON.stringify({ kind, ...fields })}\n`);
const client = createClient({ WebSocket, ...options, ...(tokenUrl && { getToken: fetchToken(tokenUrl) }) });
client.onStatus((status) => report("status", status));
client.onRefresh((refresh) => report("refresh", refresh));
client.onAny(({ id, type, topic, data }) => report("event", { id, type, topic, data }));
client.onMessage("note", (data) => report("message", { data }));
for (const topic of options.presence ?? []) client.onPresence(topic, (presence) => report("presence", presence));
client.onAsk("confirm", async ({ text }) => `yes to ${text}`);

const commands = {
  send: (type, data) => client.send(type, data),
  subscribe: (topic, options) => client.subscribe(topic, options),
  unsubscribe: (topic) => client.unsubscribe(topic),
  login: () => client.login(),
  logout: () => client.logout(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [[name, parameters]] = Object.entries(JSON.parse(line));
  const answer = commands[name](...parameters);
  Promise.resolve(answer).then(
    (reply) => report("done", { reply }),
    ({ name, code, message }) => report("failed", { name, code, message }),
  );
}
client.close();
