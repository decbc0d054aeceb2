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
client.onAny(({ id, type, data }) => report("event", { id, type, data }));

for await (const line of createInterface({ input: process.stdin })) {
  const { send, login, logout } = JSON.parse(line);
  const answer = send ? client.send(...send) : login ? client.login() : logout ? client.logout() : client.close();
  Promise.resolve(answer).then(
    (reply) => report("done", { reply }),
    ({ name, code, message }) => report("failed", { name, code, message }),
  );
}
client.close();
