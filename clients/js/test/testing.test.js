// The fake gateway of `@clarion/client/testing`, followed by the real client.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { createClient, RefusalError } from "../dist/index.js";
import { createGateway } from "../dist/testing.js";
import { promised, status } from "./gateway.js";

const clients = [];
afterEach(() => clients.splice(0).forEach((client) => client.close()));

async function follow(gateway, user = null, options = {}) {
  const client = createClient({ ...gateway.options, getToken: () => user, ...options });
  clients.push(client);
  const heard = [];
  const refreshes = [];
  client.onAny(({ type, data }) => heard.push([type, data]));
  client.onRefresh(({ reason, topic }) => refreshes.push(topic ? [reason, topic] : reason));
  await status(client, "open");
  return { client, heard, refreshes };
}

const settled = () => new Promise(setImmediate);

test("each client has the events of its audiences", async () => {
  const gateway = createGateway();
  const alice = await follow(gateway, "alice", { topics: ["order.42"] });
  const guest = await follow(gateway);
  gateway.publish("all", "a", 1);
  gateway.publish("authenticated", "b", 2);
  gateway.publish({ user: "alice" }, "c", 3);
  gateway.publish({ user: "bob" }, "d", 4);
  gateway.publish({ topic: "order.42" }, "e", 5);
  await settled();
  assert.deepEqual(alice.heard, [["a", 1], ["b", 2], ["c", 3], ["e", 5]]);
  assert.deepEqual(guest.heard, [["a", 1]]);
  assert.deepEqual(gateway.connections.map(({ user, topics }) => [user, topics]), [["alice", ["order.42"]], [null, []]]);
});

test("a lost connection is resumed; a forgotten history is told", async () => {
  const gateway = createGateway();
  const { client, heard, refreshes } = await follow(gateway);
  gateway.drop();
  gateway.publish("all", "meanwhile");
  await status(client, "connecting");
  await status(client, "open");
  await settled();
  assert.deepEqual(heard, [["meanwhile", null]]);
  gateway.drop();
  gateway.forget();
  await status(client, "connecting");
  await status(client, "open");
  gateway.gap();
  await settled();
  assert.deepEqual(refreshes, ["first", "not_resumed", "gap"]);
});

test("handlers reply, or refuse with a code", async () => {
  const gateway = createGateway();
  const { client } = await follow(gateway, "alice");
  gateway.handle("echo", async (data, { user }) => ({ ...data, user }));
  gateway.handle("refused", () => {
    throw new RefusalError("too_late", "the order has left");
  });
  assert.deepEqual(await client.send("echo", { text: "hi" }), { text: "hi", user: "alice" });
  const codes = ["refused", "no.such"].map((type) => client.send(type, null).catch(({ code }) => code));
  assert.deepEqual(await Promise.all(codes), ["too_late", "unknown_type"]);
});

test("topics follow the tokens", async () => {
  const gateway = createGateway({ allows: (user) => user === "alice" });
  let user = null;
  const client = createClient({ ...gateway.options, getToken: () => user });
  clients.push(client);
  await assert.rejects(client.subscribe("order.42"), RefusalError);
  user = "alice";
  await client.login();
  await client.subscribe("order.42");
  assert.deepEqual(client.status.topics, ["order.42"]);
  client.unsubscribe("order.42");
  await settled();
  assert.deepEqual(client.status.topics, []);
  await client.logout();
  assert.equal(client.status.user, null);
});

test("presence is told to those that receive the topic", async () => {
  const gateway = createGateway();
  const { client } = await follow(gateway, "alice", { topics: ["room"] });
  const told = new Promise((resolve) => client.onPresence("room", resolve));
  gateway.tellPresence("room", ["alice", "bob"]);
  assert.deepEqual(await told, { topic: "room", users: 2, connections: 2, members: ["alice", "bob"] });
});

test("a refusal closes, or is tried again", async () => {
  const gateway = createGateway({ userOf: (token) => (token === "bad" ? null : token) });
  const { client } = await follow(gateway, "alice");
  gateway.refuse(1012, "draining");
  await status(client, ({ reason }) => reason === "draining");
  gateway.accept();
  await status(client, "open");
  gateway.refuse(4403, "you spammed");
  assert.equal((await status(client, "closed")).reason, "you spammed");
  gateway.accept();
  const bad = createClient({ ...gateway.options, getToken: () => "bad" });
  const closed = promised();
  bad.onStatus((now) => now.state === "closed" && closed.resolve(now));
  assert.equal((await closed).code, 4401);
  assert.deepEqual(gateway.connections, []);
});

test("questions are answered, and messages arrive", async () => {
  const gateway = createGateway();
  const { client } = await follow(gateway);
  const heard = [];
  client.onMessage("note", (data) => heard.push(data));
  client.onAsk("confirm", async ({ text }) => `yes to ${text}`);
  client.onAsk("refused", () => {
    throw new RefusalError("busy", "not now");
  });
  gateway.send("note", 1);
  gateway.send("other", 2);
  assert.deepEqual(await gateway.ask("confirm", { text: "all" }), [{ data: "yes to all" }]);
  assert.deepEqual(await gateway.ask("refused"), [{ error: { code: "busy", message: "not now" } }]);
  assert.equal((await gateway.ask("unknown"))[0].error.code, "unknown_type");
  assert.deepEqual(heard, [1]);
});

test("a topic with a last value brings it", async () => {
  const gateway = createGateway({ lastValue: (topic) => topic.startsWith("price.") });
  for (const topic of ["price.gold", "price.tin", "news"]) gateway.publish({ topic }, "set", topic);
  const { client, heard } = await follow(gateway, null, { topics: ["price.gold"] });
  await client.subscribe("price.tin");
  await client.subscribe("news");
  await settled();
  assert.deepEqual(heard.map(([, data]) => data), ["price.gold", "price.tin"]);
});

test("a subscription brings the past of its topic, and nothing twice", async () => {
  const gateway = createGateway();
  for (let number = 0; number < 5; number++) gateway.publish({ topic: "room" }, "said", number);
  const { client, heard } = await follow(gateway);
  // Published when the topic arrives already, and before its past is read.
  client.onRefresh(({ topic }) => topic && gateway.publish({ topic }, "said", 5));
  const { events } = await client.subscribe("room", { last: 4 });
  await settled();
  const past = events.map(({ data }) => data);
  assert.deepEqual([...past, ...heard.map(([, data]) => data)], [2, 3, 4, 5]);
});
