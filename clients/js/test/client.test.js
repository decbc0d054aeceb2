import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { WebSocket } from "ws";
import { Client, createClient, fetchToken, NoAnswerError, RefusalError, Stop } from "../dist/index.js";
import { event, promised, say, startGateway, status, welcome } from "./gateway.js";

const cleanups = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function gateway(...listeners) {
  const started = await startGateway(...listeners);
  cleanups.push(() => started.stop());
  return started.url;
}

function connect(url, options = {}) {
  const client = createClient({ url, WebSocket, ...options });
  cleanups.push(() => client.close());
  return client;
}

test("events reach the handlers of their type, and those of all, in order", async () => {
  const url = await gateway((socket) => say(socket, welcome(), event(2, "a", 1), event(3, "b", 2)));
  const client = connect(url);
  const heard = [];
  const done = promised();
  client.on("a", (data, { id }) => heard.push(["a", data, id]));
  client.onAny(({ type }) => {
    heard.push(["any", type]);
    if (type === "b") done.resolve();
  });
  await done;
  assert.deepEqual(heard, [["a", 1, "2"], ["any", "a"], ["any", "b"]]);
  assert.equal(client.position, "3");
});

test("a token that ends this second has an end", async () => {
  const url = await gateway((socket) => say(socket, welcome({ user: "alice", expires_in: 0 })));
  const began = Date.now();
  const { expiresAt } = await status(connect(url), "open");
  assert.ok(expiresAt >= began);
});

test("a handler that throws keeps nothing from the others, and is reported", async () => {
  const url = await gateway((socket) => say(socket, welcome(), event(2), event(3)));
  const client = connect(url);
  const reported = promised();
  const earlier = process.rawListeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.once("uncaughtException", reported.resolve);
  const done = promised();
  client.onAny(({ id }) => {
    if (id === "2") throw new Error("a bug of the page's");
    done.resolve();
  });
  await done;
  assert.match((await reported).message, /a bug/);
  earlier.forEach((listener) => process.on("uncaughtException", listener));
});

test("a lost connection is resumed from the last event, on the connection that had it", async () => {
  const asked = [];
  const done = promised();
  const url = await gateway((socket, { searchParams }) => {
    asked.push(Object.fromEntries(searchParams));
    if (asked.length === 1) {
      say(socket, welcome(), event(7));
      setImmediate(() => socket.terminate());
    } else if (asked.length === 2) {
      say(socket, welcome({ connection: "c2", id: "7", resumed: true }));
      setImmediate(() => socket.terminate());
    } else done.resolve();
  });
  connect(url);
  await done;
  // Nothing came on the second one, so the position is still the first one's.
  assert.deepEqual(asked, [{}, { since: "7", connection: "c1" }, { since: "7", connection: "c1" }]);
});

test("what comes again after a resume is dropped", async () => {
  let sockets = 0;
  const url = await gateway((socket) => {
    if (++sockets === 1) {
      say(socket, welcome(), event(2), event(3));
      setImmediate(() => socket.terminate());
    } else say(socket, welcome({ resumed: true, id: "3" }), event(2), event(3), event(4));
  });
  const ids = [];
  const done = promised();
  connect(url).onAny(({ id }) => {
    ids.push(id);
    if (id === "4") done.resolve();
  });
  await done;
  assert.deepEqual(ids, ["2", "3", "4"]);
});

test("the application hears when its state must be fetched anew", async () => {
  let sockets = 0;
  const done = promised();
  const url = await gateway((socket) => {
    if (++sockets === 1) {
      say(socket, welcome({ id: "5" }), { kind: "gap", id: "8" });
      setImmediate(() => socket.terminate());
    } else say(socket, welcome({ id: "20", resumed: false }));
  });
  const heard = [];
  connect(url).onRefresh((refresh) => {
    heard.push(refresh);
    if (heard.length === 3) done.resolve();
  });
  await done;
  assert.deepEqual(heard, [
    { reason: "first", id: "5" },
    { reason: "gap", id: "8" },
    { reason: "not_resumed", id: "20" },
  ]);
});

for (const code of [1002, 1003, 4400, 4403, 4413]) {
  test(`${code} closes the client with the gateway's words`, async () => {
    const url = await gateway((socket) => {
      say(socket, welcome());
      socket.close(code, "because");
    });
    assert.deepEqual(await status(connect(url), ({ reason }) => reason === "because"), {
      state: "closed", reason: "because", code,
    });
  });
}

for (const code of [1001, 1011, 1012, 1013, 4408, 4409, 4429, 4999]) {
  test(`after ${code} the client comes back`, async () => {
    let sockets = 0;
    const url = await gateway((socket) => {
      say(socket, welcome());
      if (++sockets === 1) socket.close(code);
    });
    const client = connect(url);
    await status(client, ({ state, retryAt }) => state === "connecting" && retryAt);
    await status(client, "open");
    assert.equal(sockets, 2);
  });
}

test("the server's wish is waited for", async () => {
  const url = await gateway((socket) => {
    say(socket, welcome(), { kind: "reconnect", after_ms: 600_000, reason: "draining" });
    socket.close(1012, "draining, reconnect");
  });
  const before = Date.now();
  const { retryAt } = await status(connect(url), ({ retryAt }) => retryAt);
  assert.ok(retryAt >= before + 600_000);
});

test("a refused token is replaced once, then the client closes", async () => {
  const reasons = [];
  const url = await gateway((socket) => socket.close(4401, "expected a valid token"));
  const client = connect(url, { getToken: ({ reason }) => (reasons.push(reason), "bad") });
  assert.deepEqual(await status(client, "closed"), {
    state: "closed", reason: "expected a valid token", code: 4401,
  });
  assert.deepEqual(reasons, ["connect", "refused"]);
});

test("a token that ends on an open connection is replaced at once", async () => {
  const tokens = [];
  const done = promised();
  const url = await gateway((socket, _, token) => {
    tokens.push(token);
    say(socket, welcome({ user: "alice" }));
    if (tokens.length < 3) socket.close(4401, "the token has expired");
    else done.resolve();
  });
  let made = 0;
  connect(url, { getToken: async () => `t${++made}` });
  await done;
  assert.deepEqual(tokens, ["t1", "t2", "t3"]);
});

test("without a way to get a token, a refusal closes the client", async () => {
  const url = await gateway((socket) => socket.close(4401, "expected a valid token"));
  assert.equal((await status(connect(url), "closed")).code, 4401 /* first it is "not connected yet" */);
});

test("Stop closes the client, other failures are reported and tried again", async () => {
  const url = await gateway((socket) => say(socket, welcome()));
  let asked = 0;
  const client = connect(url, {
    getToken() {
      if (++asked === 1) throw new TypeError("the endpoint is down");
      throw new Stop("please log in");
    },
  });
  assert.equal((await status(client, ({ retryAt }) => retryAt)).reason, "no token: the endpoint is down");
  assert.deepEqual(await status(client, ({ code }) => code === "stopped"), {
    state: "closed", reason: "please log in", code: "stopped",
  });
});

test("a token is refreshed in band before it ends", async () => {
  const refreshed = promised();
  const url = await gateway((socket) => {
    say(socket, welcome({ user: "alice", expires_in: 1 }));
    socket.on("message", (data) => refreshed.resolve(JSON.parse(data)));
  });
  let made = 0;
  connect(url, { getToken: () => `t${++made}` });
  assert.deepEqual(await refreshed, { kind: "auth", token: "t2", ref: 1 });
});

test("a stored position that is none is not sent", async () => {
  const asked = promised();
  const url = await gateway((_, { searchParams }) => asked.resolve(searchParams.has("since")));
  const storage = asStorage(new Map([["key", '{"id":"1e9","connection":null}']]));
  connect(url, { storage, storageKey: "key" });
  assert.equal(await asked, false);
});

test("the position outlives the client in a storage", async () => {
  const asked = [];
  const url = await gateway((socket, { searchParams }) => {
    asked.push(Object.fromEntries(searchParams));
    say(socket, welcome({ id: "4", resumed: searchParams.has("since") || null }), event(5 + asked.length));
  });
  const storage = asStorage(new Map());
  for (let turn = 0; turn < 2; turn++) {
    const client = connect(url, { storage });
    const had = promised();
    client.onAny(had.resolve);
    await had;
    client.close();
  }
  assert.deepEqual(asked, [{}, { since: "6", connection: "c1" }]);
});

const asStorage = (map) => ({
  getItem: (key) => map.get(key) ?? null,
  setItem: (key, value) => map.set(key, value),
});

test("a message gets its reply, whatever the order", async () => {
  const url = await gateway((socket) => {
    say(socket, welcome());
    const asked = [];
    socket.on("message", (data) => {
      asked.push(JSON.parse(data));
      if (asked.length < 2) return;
      for (const { ref, type, data } of asked.reverse()) say(socket, { kind: "reply", ref, data: [type, data] });
    });
  });
  const client = connect(url);
  assert.deepEqual(await Promise.all([client.send("a", 1), client.send("b", 2)]), [["a", 1], ["b", 2]]);
});

test("a refused message is an error with its code", async () => {
  const url = await gateway((socket) => {
    say(socket, welcome());
    socket.on("message", (data) => {
      say(socket, { kind: "error", ref: JSON.parse(data).ref, code: "invalid", message: "data.text is missing" });
    });
  });
  const refused = await connect(url).send("a", {}).catch((error) => error);
  assert.ok(refused instanceof RefusalError);
  assert.deepEqual([refused.code, refused.message], ["invalid", "data.text is missing"]);
});

test("a message without an answer says whether it was sent", async () => {
  const url = await gateway((socket) => {
    say(socket, welcome());
    socket.on("message", () => socket.terminate());
  });
  const client = connect(url);
  const lost = await client.send("a", {}).catch((error) => error);
  assert.ok(lost instanceof NoAnswerError);
  assert.equal(lost.sent, true);
  client.close();
  assert.equal((await client.send("a", {}).catch((error) => error)).sent, false);
});

test("a message that nobody answers ends by its timeout", async () => {
  const url = await gateway((socket) => say(socket, welcome()));
  const late = await connect(url).send("a", {}, { timeout: 20 }).catch((error) => error);
  assert.ok(late instanceof NoAnswerError);
});

test("a gateway that goes silent is left", async () => {
  let sockets = 0;
  const url = await gateway((socket) => {
    sockets++;
    say(socket, welcome({ ping_interval: sockets === 1 ? 0.02 : 3600 }));
  });
  const client = connect(url);
  const left = await status(client, ({ state, retryAt }) => state === "connecting" && retryAt);
  assert.equal(left.reason, "the gateway went silent");
  await status(client, "open");
});

test("pings keep a quiet connection", async () => {
  let sockets = 0;
  const pinged = promised();
  const url = await gateway((socket) => {
    sockets++;
    say(socket, welcome({ ping_interval: 1 }));
    let pings = 0;
    const timer = setInterval(() => {
      say(socket, { kind: "ping" });
      if (++pings === 40) pinged.resolve();
    }, 100);
    socket.on("close", () => clearInterval(timer));
  });
  connect(url);
  await pinged;
  assert.equal(sockets, 1);
});

test("login and logout change the identity of an open connection", async () => {
  const tokens = [];
  const url = await gateway((socket, _, token) => {
    say(socket, welcome({ user: token }));
    socket.on("message", (data) => {
      const { ref, token } = JSON.parse(data);
      tokens.push(token);
      say(socket, { kind: "identity", ref, user: token, expires_in: null });
    });
  });
  const client = connect(url, { getToken: () => "alice" });
  await status(client, "open");
  await client.logout();
  assert.equal(client.status.user, null);
  await client.login();
  assert.equal(client.status.user, "alice");
  assert.deepEqual(tokens, [null, "alice"]);
});

/** A gateway that allows all topics but those that begin with `secret`. */
async function topical(asked, answer = () => null) {
  const allowed = (topics) => topics.filter((topic) => !topic.startsWith("secret"));
  return gateway((socket, { searchParams }) => {
    const named = searchParams.getAll("topic");
    asked.push(["connect", ...named]);
    say(socket, welcome({ resumed: searchParams.has("since") || null, topics: allowed(named) }));
    socket.on("message", (data) => {
      const { kind, ref, topics } = JSON.parse(data);
      asked.push([kind, ...topics]);
      const forbidden = topics.filter((topic) => !allowed([topic]).length);
      const granted = kind === "subscribe" ? { id: "5", topics: allowed(topics), forbidden } : { topics };
      say(socket, answer(kind, topics, asked) ? { ref, ...answer(kind, topics, asked) } : { kind: `${kind}d`, ref, ...granted });
    });
  });
}

test("the client names its topics at each connection", async () => {
  const asked = [];
  const sockets = [];
  const url = await gateway((socket, { searchParams }) => {
    sockets.push(socket);
    asked.push(searchParams.getAll("topic"));
    say(socket, welcome({ topics: ["order.42", "a#b"] }));
  });
  const client = connect(url, { topics: ["order.42", "a#b"] });
  assert.deepEqual((await status(client, "open")).topics, ["order.42", "a#b"]);
  sockets[0].terminate();
  await status(client, ({ state }) => state === "connecting");
  await status(client, "open");
  assert.deepEqual(asked, [["order.42", "a#b"], ["order.42", "a#b"]]);
});

test("a subscription resolves when the topic's events arrive, and says to fetch its state", async () => {
  const asked = [];
  const client = connect(await topical(asked), { topics: ["a"] });
  const refreshes = [];
  client.onRefresh((refresh) => refreshes.push(refresh));
  await status(client, "open");
  await Promise.all([client.subscribe("b"), client.subscribe("c")]);
  assert.deepEqual(client.status.topics, ["a", "b", "c"]);
  assert.deepEqual(asked, [["connect", "a"], ["subscribe", "b", "c"]]);
  assert.equal(client.position, "5");
  assert.deepEqual(refreshes, [
    { reason: "first", id: "1" },
    { reason: "first", id: "5", topic: "b" },
    { reason: "first", id: "5", topic: "c" },
  ]);
});

test("a subscription before the connection is named with it", async () => {
  const asked = [];
  const client = connect(await topical(asked));
  const refused = client.subscribe("secret.1").catch((error) => error);
  await client.subscribe("a");
  assert.equal((await refused).code, "forbidden");
  assert.deepEqual(asked[0], ["connect", "secret.1", "a"]);
});

test("a topic that the token does not allow is refused, and not asked for again", async () => {
  const asked = [];
  const client = connect(await topical(asked));
  await status(client, "open");
  const refused = await client.subscribe("secret.1").catch((error) => error);
  assert.ok(refused instanceof RefusalError);
  assert.equal(refused.code, "forbidden");
  client.close();
  client.connect();
  await status(client, "open");
  assert.deepEqual(asked, [["connect"], ["subscribe", "secret.1"], ["connect"]]);
});

test("a topic ends with its last subscription", async () => {
  const asked = [];
  const client = connect(await topical(asked));
  await Promise.all([client.subscribe("a"), client.subscribe("a"), client.subscribe("b")]);
  client.unsubscribe("a");
  await new Promise(setImmediate);
  assert.deepEqual(client.status.topics, ["a", "b"]);
  client.unsubscribe("a");
  await status(client, ({ topics }) => topics && !topics.includes("a"));
  assert.deepEqual(asked.at(-1), ["unsubscribe", "a"]);
});

test("a topic that is given up and taken up at once is not touched", async () => {
  const asked = [];
  const client = connect(await topical(asked), { topics: ["a"] });
  await status(client, "open");
  client.unsubscribe("a");
  await client.subscribe("a");
  assert.deepEqual(asked, [["connect", "a"]]);
});

test("one name that is no topic's spoils nothing for the others", async () => {
  const invalid = { kind: "error", code: "invalid_topic", message: "expected a topic" };
  const url = await topical([], (_, topics) => (topics.includes("*") ? invalid : null));
  const client = connect(url);
  await status(client, "open");
  const [good, bad] = await Promise.allSettled([client.subscribe("a"), client.subscribe("*")]);
  assert.equal(good.status, "fulfilled");
  assert.equal(bad.reason.code, "invalid_topic");
});

test("a subscription that comes too fast is repeated", async () => {
  const limited = { kind: "error", code: "rate_limited", message: "in 1 s" };
  const asked = [];
  const client = connect(await topical(asked, () => (asked.length === 2 ? limited : null)));
  await status(client, "open");
  await client.subscribe("a");
  assert.deepEqual(asked, [["connect"], ["subscribe", "a"], ["subscribe", "a"]]);
});

test("over an event stream whose gateway takes no messages, a new topic is a new stream from the same position", async () => {
  const asked = [];
  const url = await startedWithoutSockets((request, response) => {
    const { searchParams } = new URL(request.url, "http://gateway");
    asked.push([searchParams.get("since"), ...searchParams.getAll("topic")]);
    const welcome = { connection: "s", user: null, resumed: searchParams.has("since") || null, topics: searchParams.getAll("topic") };
    stream(response, `id: 4\nevent: $welcome\ndata: ${JSON.stringify(welcome)}\n\n`);
  });
  const client = connect(url, { transport: "sse" });
  await status(client, "open");
  await client.subscribe("a");
  assert.deepEqual(asked, [[null], ["4", "a"]]);
});

/** A gateway of event streams that takes messages by POST; what `answer` returns comes by the stream. */
async function streaming(answer, welcome = {}) {
  let open;
  return startedWithoutSockets(async (request, response) => {
    if (request.method === "POST") {
      const message = JSON.parse(Buffer.concat(await request.toArray()));
      response.writeHead(202).end();
      const { event, id, ...data } = answer(message);
      return open.write(`${id ? `id: ${id}\n` : ""}event: ${event}\ndata: ${JSON.stringify({ ref: message.ref, ...data })}\n\n`);
    }
    open = response;
    const { searchParams } = new URL(request.url, "http://gateway");
    const topics = searchParams.getAll("topic");
    const detail = problemOf(topics);
    if (detail) return response.writeHead(400, { "content-type": "application/problem+json" }).end(JSON.stringify({ status: 400, detail }));
    const fields = { connection: "s", pod: "p", user: null, resumed: searchParams.has("since") || null, messages: "post", topics, ...welcome };
    stream(response, `id: 4\nevent: $welcome\ndata: ${JSON.stringify(fields)}\n\n`);
  });
}

test("over an event stream, topics come and go by messages, and the stream answers", async () => {
  const said = [];
  const url = await streaming(({ kind, topics, last }) => {
    said.push([kind, topics, last]);
    if (kind === "unsubscribe") return { event: "$unsubscribed", topics };
    const past = { kind: "event", id: "3", type: "tick", data: 3, topic: "a", time: "" };
    return { event: "$subscribed", id: 5, topics, ...(last && { events: [past] }) };
  });
  const client = connect(url, { transport: "sse" });
  await status(client, "open");
  const { events } = await client.subscribe("a", { last: 1 });
  assert.deepEqual(events.map(({ data }) => data), [3]);
  assert.equal(client.position, "5");
  client.unsubscribe("a");
  await status(client, ({ topics }) => topics?.length === 0);
  assert.deepEqual(said, [["subscribe", ["a"], undefined], ["subscribe", ["a"], 1], ["unsubscribe", ["a"], undefined]]);
});

/** A gateway that refuses to connect if a name is `*`, or if there are more than two. */
function problemOf(topics) {
  if (topics.includes("*")) return "expected a topic of 1 to 128 characters";
  return topics.length > 2 ? `expected at most 2 topics for one connection, got ${topics.length}` : null;
}

test("over an event stream, a topic that cannot be is refused, and nothing else", async () => {
  const received = ["a"];
  const url = await streaming(({ topics }) => {
    const message = problemOf([...received, ...topics]);
    if (message) return { event: "$error", code: message.startsWith("expected at most") ? "too_many_topics" : "invalid_topic", message };
    received.push(...topics);
    return { event: "$subscribed", id: 5, topics };
  });
  const client = connect(url, { transport: "sse", topics: ["a"] });
  const [good, bad, surplus] = await Promise.allSettled(["b", "*", "c"].map((topic) => client.subscribe(topic)));
  assert.deepEqual([bad.reason.name, bad.reason.code, good.status], ["RefusalError", "invalid_topic", "fulfilled"]);
  assert.equal(surplus.reason.code, "too_many_topics");
  const { state, topics } = client.status;
  assert.deepEqual([state, topics], ["open", ["a", "b"]]);
});

test("if a gateway of event streams takes no messages, new topics with a bad one are refused together", async () => {
  const url = await streaming(() => {}, { messages: undefined });
  const client = connect(url, { transport: "sse", topics: ["a"] });
  const refused = await Promise.allSettled(["b", "*"].map((topic) => client.subscribe(topic)));
  assert.deepEqual(refused.map(({ reason }) => reason?.code), ["invalid_topic", "invalid_topic"]);
  const { topics } = await status(client, "open");
  assert.deepEqual(topics, ["a"]);
});

test("a topic that cannot be is refused, also if it was asked for before the socket was open", async () => {
  const url = await gateway((socket, { searchParams }) => {
    const topics = searchParams.getAll("topic");
    const problem = problemOf(topics);
    if (problem) return socket.close(4400, problem);
    say(socket, welcome({ topics }));
    socket.on("message", (data) => {
      const { ref, topics } = JSON.parse(data);
      const message = problemOf(topics);
      say(socket, message ? { kind: "error", ref, code: "invalid_topic", message } : { kind: "subscribed", ref, id: "5", topics });
    });
  });
  const client = connect(url);
  const [good, bad] = await Promise.allSettled(["b", "*"].map((topic) => client.subscribe(topic)));
  assert.deepEqual([bad.reason.code, good.status], ["invalid_topic", "fulfilled"]);
});

test("a topic that the application refuses is refused with its code, whenever it was asked for", async () => {
  const refused = ["full", "late"].map((topic) => ({ topic, code: `${topic}_code`, message: "no room" }));
  const url = await gateway((socket) => {
    say(socket, welcome({ topics: [], refused: [refused[0]] }));
    socket.on("message", (data) => say(socket, { kind: "subscribed", ref: JSON.parse(data).ref, id: "5", topics: [], refused: [refused[1]] }));
  });
  const client = connect(url, { topics: ["never"] });
  await assert.rejects(client.subscribe("full"), { name: "RefusalError", code: "full_code", message: "no room" });
  await assert.rejects(client.subscribe("late"), { name: "RefusalError", code: "late_code", message: "no room" });
  assert.deepEqual(client.status.forbidden, ["never"]);
});

test("without a new topic, a refusal of the request closes the client", async () => {
  const url = await gateway((socket) => socket.close(4400, "expected a topic"));
  const closed = await status(connect(url, { topics: ["*"] }), "closed");
  assert.deepEqual([closed.code, closed.reason], [4400, "expected a topic"]);
});

test("handlers get last values, which move no position", async () => {
  const on = (id, topic) => ({ ...event(id), audience: "topic", topic });
  const url = await gateway((socket) => {
    say(socket, welcome({ id: "9", topics: ["a"] }), { kind: "subscribed", ref: null, id: "9", topics: ["a"], events: [on(2, "a")] });
    socket.on("message", (data) => {
      const { ref, topics, last = 1 } = JSON.parse(data);
      const events = [on(3, topics[0]), on(4, topics[0])].slice(-last);
      say(socket, { kind: "subscribed", ref, id: "10", topics, events });
    });
  });
  const heard = [];
  const refreshed = [];
  const client = connect(url, { topics: ["a"] });
  client.on("tick", (_, { id, topic }) => heard.push([topic, id]));
  client.onRefresh(({ topic, reason }) => refreshed.push([topic, reason, heard.length]));
  await status(client, "open");
  await client.subscribe("b");
  assert.equal(client.position, "10");
  assert.deepEqual(heard, [["a", "2"], ["b", "4"]]);
  assert.deepEqual(refreshed, [[undefined, "first", 0], ["b", "first", 1]], "first the state, then the value");
  const { events } = await client.subscribe("b", { last: 2 });
  assert.deepEqual(events.map(({ id }) => id), ["3", "4"]);
  assert.equal(heard.length, 2, "what was asked for comes as the answer");
});

test("a topic that could not be resumed is reported by its name", async () => {
  let sockets = 0;
  const done = promised();
  const url = await gateway((socket) => {
    if (++sockets > 1) return say(socket, welcome({ id: "9", resumed: true, topics: ["a", "b"], not_resumed: ["b"] }));
    say(socket, welcome({ topics: ["a", "b"] }));
    setImmediate(() => socket.terminate());
  });
  const refreshes = [];
  connect(url, { topics: ["a", "b"] }).onRefresh((refresh) => {
    refreshes.push(refresh);
    if (refreshes.length === 2) done.resolve();
  });
  await done;
  assert.deepEqual(refreshes.at(-1), { reason: "not_resumed", id: "9", topic: "b" });
});

test("a topic that a later token allows is to be fetched then", async () => {
  const url = await gateway((socket) => {
    say(socket, welcome({ id: "3" }));
    socket.on("message", (data) => {
      const { ref, token } = JSON.parse(data);
      say(socket, { kind: "identity", ref, user: token, expires_in: null, topics: ["a"] });
    });
  });
  const client = connect(url, { topics: ["a"], getToken: () => "alice" });
  const refreshes = [];
  client.onRefresh((refresh) => refreshes.push(refresh));
  await status(client, "open");
  assert.deepEqual(client.status.topics, []);
  await client.login();
  assert.deepEqual(client.status.topics, ["a"]);
  assert.deepEqual(refreshes.at(-1), { reason: "first", id: "3", topic: "a" });
});

test("the client keeps who receives a topic, and tells each change", async () => {
  const told = (fields) => ({ kind: "presence", topic: "room", ...fields });
  const done = promised();
  const url = await gateway((socket) => {
    say(
      socket,
      welcome({ topics: ["room"] }),
      told({ users: 2, connections: 3, members: ["alice", "carol"] }),
      told({ users: 2, connections: 2, joined: ["bob"], left: ["carol"] }),
      told({ users: 2, connections: 5 }),
      told({ users: 3, connections: 3, members: null }),
      { ...told({ users: 1, connections: 1, members: ["zoe"] }), topic: "other" },
      event(2),
    );
    socket.on("message", (data) => say(socket, { kind: "unsubscribed", ref: JSON.parse(data).ref, topics: ["room"] }));
  });
  const client = connect(url, { topics: ["room"] });
  const heard = [];
  client.onPresence("room", ({ topic, users, connections, members }) => heard.push([topic, users, connections, members]));
  client.onAny(done.resolve);
  await done;
  assert.deepEqual(heard, [
    ["room", 2, 3, ["alice", "carol"]],
    ["room", 2, 2, ["alice", "bob"]],
    ["room", 2, 5, ["alice", "bob"]],
    ["room", 3, 3, null],
  ]);
  const late = [];
  client.onPresence("room", ({ users }) => late.push(users));
  client.unsubscribe("room");
  await status(client, ({ topics }) => topics && !topics.includes("room"));
  client.onPresence("room", () => late.push("of a topic that it does not receive"));
  assert.deepEqual(late, [3]);
});

test("two topics may have an event with the same id", async () => {
  const done = promised();
  const on = (id, topic) => ({ ...event(id), audience: "topic", topic });
  const url = await gateway((socket) =>
    say(socket, welcome(), on(2, "a"), on(2, "b"), on(2, "a"), event(3, "end")),
  );
  const heard = [];
  const client = connect(url);
  client.on("tick", (_, { topic }) => heard.push(topic));
  client.on("end", done.resolve);
  await done;
  assert.deepEqual(heard, ["a", "b"]);
});

test("subscribers learn that the client closes", async () => {
  const client = connect(await gateway(() => {}));
  const waiting = client.subscribe("a").catch((error) => error);
  client.close();
  assert.ok((await waiting) instanceof NoAnswerError);
});

function stream(response, text) {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(text);
}

test("where sockets do not get through, events come by an event stream", async () => {
  const url = await startedWithoutSockets((request, response) => {
    stream(response, 'id: 4\nevent: $welcome\ndata: {"connection":"s","user":"a","resumed":null,"expires_in":null}\n\n');
    response.write("id: 5\nevent: note\ndata: {\"two\":\ndata: 2}\n");
    response.write(":\n\n");
    response.write(`id: 6\nevent: auth\ndata: "${request.headers.authorization}"\n\n`);
  });
  const client = connect(url, { getToken: () => "jwt" });
  const done = promised();
  const heard = [];
  client.onAny(({ type, data, time }) => {
    heard.push([type, data, time]);
    if (type === "auth") done.resolve();
  });
  await done;
  assert.deepEqual(heard, [
    ["note", { two: 2 }, "1970-01-01T00:00:00.000Z"],
    ["auth", "Bearer jwt", "1970-01-01T00:00:00.000Z"],
  ]);
  assert.equal(client.status.transport, "sse");
  const refused = await client.send("a", {}).catch((error) => error);
  assert.ok(refused instanceof NoAnswerError);
  assert.match(refused.message, /takes no messages/);
  assert.equal(refused.sent, false);
});

/** A gateway with event streams alone; `answer` answers the messages. */
async function posting(answer, welcome = {}) {
  const fields = { connection: "c 1", pod: "p&1", user: null, resumed: null, expires_in: null, messages: "post", ...welcome };
  return startedWithoutSockets(async (request, response) => {
    if (request.method === "GET") return stream(response, `id: 4\nevent: $welcome\ndata: ${JSON.stringify(fields)}\n\n`);
    const { searchParams } = new URL(request.url, "http://gateway");
    const message = JSON.parse(Buffer.concat(await request.toArray()));
    const [status, body] = answer(message, { ...request.headers, ...Object.fromEntries(searchParams) });
    response.writeHead(status, { "content-type": "application/json" });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });
}

test("over an event stream, a message goes by POST and the answer is its reply", async () => {
  const asked = [];
  const url = await posting(({ kind, ref, type, data }, { connection, pod, authorization }) => {
    asked.push([kind, type, connection, pod, authorization]);
    return [200, { kind: "reply", ref, data: data + 1 }];
  });
  const client = connect(url, { transport: "sse", getToken: () => "jwt" });
  assert.deepEqual(await Promise.all([client.send("a", 1), client.send("b", 2)]), [2, 3]);
  assert.deepEqual(asked.sort(), [
    ["message", "a", "c 1", "p&1", "Bearer jwt"],
    ["message", "b", "c 1", "p&1", "Bearer jwt"],
  ]);
});

for (const [status, body, name, code, sent] of [
  [200, { kind: "error", ref: 1, code: "invalid", message: "no" }, "RefusalError", "invalid"],
  [429, { code: "rate_limited", detail: "too many" }, "RefusalError", "rate_limited"],
  [401, { code: "unauthenticated", detail: "expected a valid token" }, "RefusalError", "unauthenticated"],
  [404, { code: "unknown_connection", detail: "expected an open one" }, "NoAnswerError", undefined, false],
  [504, { code: "no_answer", detail: "not in time" }, "NoAnswerError", undefined, true],
  [502, "<html>a proxy's page", "NoAnswerError", undefined, true],
]) {
  test(`a message by POST that gets ${status} ${code ?? name} is an error`, async () => {
    const client = connect(await posting(() => [status, body]), { transport: "sse" });
    const error = await client.send("a", 1).catch((error) => error);
    assert.deepEqual([error.name, error.code, error.sent], [name, code, sent]);
    assert.equal(client.status.state, "open");
  });
}

test("answers by POST do not make up for a stream that is silent", async () => {
  const url = await posting(({ ref }) => [200, { kind: "reply", ref, data: null }], { ping_interval: 0.3 });
  const client = connect(url, { transport: "sse" });
  await status(client, "open");
  const sending = setInterval(() => client.send("a", 1).catch(() => {}), 20);
  const left = await status(client, ({ state, retryAt }) => state === "connecting" && retryAt);
  clearInterval(sending);
  assert.equal(left.reason, "the gateway went silent");
});

test("an event stream says the topic of an event", async () => {
  const url = await startedWithoutSockets((_, response) => {
    stream(response, 'id: 4\nevent: $welcome\ndata: {"connection":"s","user":null,"resumed":null}\n\n');
    response.write("id: 5\nevent: tick\ntopic: a\ndata: 1\n\nid: 5\nevent: tick\ntopic: b\ndata: 1\n\n");
    response.write("id: 5\nevent: tick\ntopic: b\ndata: 1\n\nid: 6\nevent: end\ndata: 1\n\n");
  });
  const client = connect(url, { transport: "sse" });
  const heard = [];
  const done = promised();
  client.onAny(({ audience, topic }) => heard.push([audience, topic]));
  client.on("end", done.resolve);
  await done;
  assert.deepEqual(heard, [["topic", "a"], ["topic", "b"], [undefined, undefined]]);
});

test("a message to this connection alone comes over an event stream too", async () => {
  const url = await startedWithoutSockets((_, response) => {
    stream(response, 'id: 4\nevent: $welcome\ndata: {"connection":"s","user":null,"resumed":null}\n\n');
    response.write('event: note\ndata: "hi"\n\nid: 5\nevent: note\ndata: "event"\n\n');
  });
  const client = connect(url, { transport: "sse" });
  const heard = [];
  const done = promised();
  client.onMessage("note", (data) => heard.push(data));
  client.on("note", done.resolve);
  assert.equal(await done, "event");
  assert.deepEqual(heard, ["hi"]);
  assert.equal(client.position, "5");
});

for (const [statusCode, detail] of [[403, "the origin is not allowed"], [404, "nothing here"]]) {
  test(`an HTTP refusal with ${statusCode} closes the client, though a socket shows 1006 only`, async () => {
    const url = await startedWithoutSockets((_, response) => {
      response.writeHead(statusCode, { "content-type": "application/problem+json" });
      response.end(JSON.stringify({ status: statusCode, detail }));
    });
    assert.deepEqual(await status(connect(url), ({ code }) => code === statusCode), {
      state: "closed", reason: detail, code: statusCode,
    });
  });
}

test("an event stream that is turned away comes back when the server says", async () => {
  const url = await startedWithoutSockets((_, response) => {
    stream(response, 'retry: 600000\nevent: $error\ndata: {"code":"draining","message":"draining, reconnect"}\n\n');
    response.end();
  });
  const before = Date.now();
  const client = connect(url, { transport: "sse" });
  const { retryAt, reason } = await status(client, ({ retryAt }) => retryAt);
  assert.ok(retryAt >= before + 600_000);
  assert.equal(reason, "draining, reconnect");
});

async function startedWithoutSockets(onRequest) {
  return gateway((socket) => socket.terminate(), onRequest);
}

for (const path of ["/realtime", "/realtime/", "/realtime/ws", "/realtime/sse"]) {
  test(`the url may end in ${path}`, async () => {
    const asked = promised();
    const url = await gateway(
      () => {},
      ({ url }, response) => {
        asked.resolve(url);
        response.writeHead(404).end();
      },
    );
    connect(`${url}${path}`, { transport: "sse" });
    assert.equal(await asked, "/realtime/sse");
  });
}

test("a topic that is asked for twice before the connection is open brings its last value once", async () => {
  const asked = [];
  const url = await topical(asked);
  const client = connect(url, { topics: ["a"] });
  await client.subscribe("a");
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(asked, [["connect", "a"]]);
});

test("a message that waits in vain for a connection leaves nothing behind", async () => {
  const client = connect("ws://127.0.0.1:1");
  let listeners = 0;
  const onStatus = client.onStatus.bind(client);
  client.onStatus = (listener) => {
    listeners += 1;
    const stop = onStatus(listener);
    return () => {
      listeners -= 1;
      stop();
    };
  };
  await assert.rejects(client.send("a", 1, { timeout: 10 }), { name: "NoAnswerError", message: "no answer in time", sent: false });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(listeners, 0);
});

test("a client that closed itself keeps nobody waiting for topics", async () => {
  const client = connect(await gateway((socket) => socket.close(4403, "barred")));
  await status(client, "closed");
  await assert.rejects(client.subscribe("a"), { name: "NoAnswerError", message: "closed: barred", sent: false });
});

test("a client that is yet to connect lets topics wait", async () => {
  const client = new Client({ url: await topical([]), WebSocket });
  const subscribed = client.subscribe("a");
  await new Promise((resolve) => setImmediate(resolve));
  client.connect();
  await subscribed;
  client.close();
});

test("a token that no header may hold, or that never comes, is reported and asked for again", async (context) => {
  const url = await gateway((socket) => say(socket, welcome()));
  const bad = connect(url, { getToken: () => "<!doctype html> <title>Log in</title>" });
  assert.match((await status(bad, ({ retryAt }) => retryAt)).reason, /subprotocol/);
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const hanging = connect(url, { getToken: () => new Promise(() => {}) });
  context.mock.timers.tick(30_000);
  context.mock.timers.reset();
  assert.equal((await status(hanging, ({ retryAt }) => retryAt)).reason, "no token: no answer in time");
});

for (const [status_, body, expected] of [
  [401, "", { code: "stopped", reason: /^not logged in: .* answered with 401$/ }],
  [500, "oops", { state: "connecting", reason: /^no token: .* answered with 500, and no JWT$/ }],
  [200, "<!doctype html><title>Log in</title>", { state: "connecting", reason: /^no token: .* answered with 200, and no JWT$/ }],
  [200, '{"token":"a.b.c"}', { state: "connecting", reason: /and no JWT$/ }],
]) {
  test(`a token endpoint that answers ${status_} with ${body || "nothing"} is told apart`, async () => {
    const gatewayUrl = await gateway((socket) => say(socket, welcome()), (_, response) => response.writeHead(status_).end(body));
    const client = connect(gatewayUrl, { getToken: fetchToken(`${gatewayUrl}/token`) });
    const { reason, code = "", state } = await status(client, ({ retryAt, code }) => retryAt || code === "stopped");
    assert.match(reason, expected.reason);
    assert.equal(code || state, expected.code ?? expected.state);
  });
}

test("something else that answers with a page is named, and tried again", async () => {
  const url = await startedWithoutSockets((_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>"));
  const { reason } = await status(connect(url, { transport: "sse" }), ({ retryAt }) => retryAt);
  assert.match(reason, /^expected a gateway at .*\/sse, which answered with text\/html$/);
});

test("a storage that the browser refuses is done without", async () => {
  const url = await gateway((socket) => say(socket, welcome({ id: "7" })));
  const storage = () => {
    throw new Error("the operation is insecure");
  };
  const client = connect(url, { storage });
  await status(client, "open");
  assert.equal(client.position, "7");
});

test("sockets alone stay sockets", async () => {
  let streams = 0;
  let sockets = 0;
  const url = await gateway((socket) => (sockets++, socket.terminate()), (_, response) => (streams++, response.writeHead(404).end()));
  const client = connect(url, { transport: "websocket" });
  await status(client, () => sockets > 3);
  assert.equal(streams, 0);
});
