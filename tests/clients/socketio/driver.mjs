// One client of Socket.IO, driven over pipes: reports go to standard output, commands come by
// standard input, each a line of JSON.
import { createInterface } from "node:readline";

const { url, module, options } = JSON.parse(process.argv[2]);
const { io } = await import(module);
const report = (kind, fields) => process.stdout.write(`${JSON.stringify({ kind, ...fields })}\n`);
let auth = options.auth ?? {};
const socket = io(url, { ...options, auth: (give) => give(auth) });
socket.on("connect", () => {
  const { engine } = socket.io;
  report("connect", { sid: socket.id, recovered: socket.recovered, transport: engine.transport.name });
  // Not the manager's event "ping": 4.0 has none.
  if (options.reportPings) engine.on("packet", ({ type }) => type === "ping" && report("ping"));
  engine.on("upgrade", (transport) => report("upgrade", { transport: transport.name }));
});
socket.on("disconnect", (reason) => report("disconnect", { reason }));
socket.on("connect_error", ({ message, data }) => report("connect_error", { message, data }));
socket.on("question", (data, answer) => answer({ answer: data }));
socket.onAny((name, ...args) =>
  report("event", { name, args: args.filter((each) => typeof each !== "function") }));

// Other namespaces on the same session. Their reports have the namespace's name as `namespace`.
const others = {};
const open = (namespace, auth) => {
  const other = socket.io.socket(namespace, { auth }); // connects at once
  const say = (kind, fields) => report(kind, { namespace, ...fields });
  other.on("connect", () => say("joined", { sid: other.id, recovered: other.recovered }));
  other.on("disconnect", (reason) => say("left", { reason }));
  other.on("connect_error", ({ message, data }) => say("barred", { message, data }));
  other.onAny((name, ...args) => say("heard", { name, args }));
  return other;
};

const commands = {
  join: ([namespace, auth]) => {
    const known = others[namespace];
    if (known) Object.assign(known, { auth }).connect();
    else others[namespace] = open(namespace, auth);
  },
  askIn: ([namespace, ...args]) =>
    others[namespace].emit(...args, (...reply) => report("answered", { namespace, reply })),
  leave: (namespace) => others[namespace].disconnect(),
  emit: ([name, ...args]) => socket.emit(name, ...args),
  ask: ([name, ...args]) => socket.emit(name, ...args, (...reply) => report("ack", { name, reply })),
  bytes: ([name, ...bytes]) =>
    socket.emit(name, ...bytes.map((each) => Buffer.from(each)), (...reply) => report("ack", { name, reply })),
  auth: (fields) => { auth = fields; },
  connect: () => socket.connect(),
  disconnect: () => socket.disconnect(),
  // The network is lost: nothing is said to the server.
  cut: () => socket.io.engine.close(),
};
for await (const line of createInterface({ input: process.stdin })) {
  for (const [command, argument] of Object.entries(JSON.parse(line))) commands[command](argument);
}
socket.disconnect();
