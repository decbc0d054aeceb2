// The development page: lets a person try everything on a connection of the JavaScript client.

import { createClient } from "./client.js";
import { Flow } from "./flow.js";
import { getJson, postJson, sendJson } from "./requests.js";
import { addEvent, addNotice, clearRows, element } from "./rows.js";
import { SocketIoClient } from "./socketio.js";

const DROP_MS = 5_000;
// A load balancer may take the request to another gateway than the one to kill.
const KILL_ATTEMPTS = 20;
// If an event is older than this when it arrives, it was missed before, not delivered late.
const LIVE_MS = 10_000;

const find = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

// The client of another transport goes on from the position of the one before.
const positions = new Map();
const storage = {
  getItem: (key) => positions.get(key) ?? null,
  setItem: (key, value) => positions.set(key, value),
};
const topics = new Set();
let client;
let before = { state: "closed" };
let openedAt = 0;
let expiresAt = null;
let dropped; // the timer that ends a drop
let stopHearing = [];
let socketIoPath;

function connect() {
  clearTimeout(dropped);
  for (const stop of stopHearing) stop();
  client?.close();
  before = { state: "closed" };
  const transport = chosen("transport");
  client =
    transport === "socketio"
      ? new SocketIoClient({ path: socketIoPath, topics, getToken })
      : createClient({ url: ".", transport, topics: [...topics], storage, getToken });
  stopHearing = [client.onStatus(showStatus), client.onRefresh(tellRefresh), client.onAny(showEvent)];
}

async function getToken() {
  const user = chosen("identity");
  return user ? (await postJson("dev/token", { user })).token : null;
}

// The client's reports

function showStatus(status) {
  const { state, reason } = status;
  if (state === "open") {
    showState("live", "live");
    showOpen(status);
  } else if (state === "closed") {
    const isAsked = status.code === "closed";
    showState(isAsked ? "idle" : "refused", isAsked ? "not connected" : "refused");
    if (isAsked && before.state !== "closed") addNotice("disconnected");
    if (!isAsked) addNotice(`refused: ${reason} (${status.code})`, true);
  } else if (status.retryAt === null) {
    showState("connecting", "connecting …");
  } else {
    showState("waiting", `back in ${((status.retryAt - Date.now()) / 1000).toFixed(1)} s`);
    addNotice(reason);
  }
  before = status;
  showSendable();
}

function showOpen({ user, pod, connection, resumed, topics: received, expiresAt: end }) {
  if (before.state !== "open") {
    openedAt = Date.now();
    const how = { true: ", resumed where it broke", false: ", not resumed: events may be missing" };
    addNotice(`connected to ${pod ?? "a gateway"}, ${user ?? "anonymous"}${how[resumed] ?? ""}`, resumed === false);
  } else if (before.user !== user) {
    addNotice(user === null ? "logged out, same socket" : `logged in as ${user}, same socket`);
  }
  expiresAt = end;
  show("user", user ?? "anonymous");
  show("pod", pod ?? "–");
  show("connection", connection);
  show("position", client.position);
  showExpiry();
  showTopics(received);
}

function showEvent(event) {
  show("position", event.id);
  if (flow.hear(event)) return;
  const age = Date.now() - Date.parse(event.time);
  const isLive = Date.parse(event.time) >= openedAt || age < 0;
  if (isLive && age < LIVE_MS) show("latency", `${Math.max(0, age)} ms`);
  addEvent(event, isLive ? null : "caught up");
}

function tellRefresh({ reason, topic, id }) {
  show("position", id);
  if (reason === "gap") addNotice("history broke: events before this may be missing", true);
  else if (topic && reason === "not_resumed") addNotice(`${topic}: events may be missing`, true);
  else if (topic) addNotice(`${topic}: its events arrive`);
}

// Input

find("identity").addEventListener("change", () => client.login().catch(({ message }) => addNotice(message, true)));

find("transport").addEventListener("change", connect);

find("connect").addEventListener("click", () => {
  clearTimeout(dropped);
  if (client.status.state === "closed") client.connect();
  else client.close();
});

find("drop").addEventListener("click", () => {
  client.close();
  showState("waiting", `back in ${DROP_MS / 1000} s`);
  dropped = setTimeout(() => client.connect(), DROP_MS);
});

const flow = new Flow(
  (type, data) => publish(JSON.stringify({ audience: "all", type, data })),
  (text, isOk) => showOutcome("flow", text, isOk),
);

find("flow").addEventListener("click", () => {
  if (flow.flows) flow.stop();
  else flow.start();
  find("flow").textContent = flow.flows ? "Stop the flow" : "Let events flow";
});

find("kill").addEventListener("click", async () => {
  const { pod } = client.status;
  try {
    for (let left = KILL_ATTEMPTS; ; left--) {
      try {
        await postJson("dev/kill", { pod });
        break;
      } catch (error) {
        if (error.status !== 409 || left === 0) throw error;
      }
    }
    showOutcome("kill", `${pod} is killed`, true);
  } catch ({ message }) {
    showOutcome("kill", message, false);
  }
});

find("clear").addEventListener("click", clearRows);

find("audience").addEventListener("change", showAudience);

onSubmit("send", async ({ type, data }) => {
  const started = performance.now();
  const reply = await client.send(type, JSON.parse(data));
  addEvent({ audience: "reply", type, time: new Date(), data: reply });
  return `answered in ${(performance.now() - started).toFixed(1)} ms`;
});

onSubmit("publish", async ({ audience: kind, type, data, ...names }) => {
  JSON.parse(data);
  const audience = kind in names ? { [kind]: names[kind] } : kind;
  // The text is inserted, not parsed and written again, so numbers stay as they were typed.
  const head = JSON.stringify({ audience, type }).slice(0, -1);
  const answer = await publish(`${head},"data":${data}}`);
  const pods = `${answer.gateways} gateway${answer.gateways === 1 ? "" : "s"}`;
  return `published ${answer.id} to ${pods}`;
});

let session = null; // kept, since the gateway that gives it may be away

async function publish(event) {
  session ??= await getJson("dev/session");
  const { publisher_url, publish_token } = session;
  try {
    return await sendJson(`${publisher_url}/v1/events`, event, { Authorization: `Bearer ${publish_token}` });
  } catch (error) {
    if (error.status === 401) session = null; // the token has ended
    throw error;
  }
}

onSubmit("topics", async ({ topic }) => {
  if (topics.has(topic)) return `already subscribed to ${topic}`;
  await client.subscribe(topic);
  topics.add(topic);
  showTopics(client.status.topics);
  return `subscribed to ${topic}`;
});

function onSubmit(id, act) {
  find(id).addEventListener("submit", async (submit) => {
    submit.preventDefault();
    try {
      showOutcome(id, await act(Object.fromEntries(new FormData(find(id)))), true);
    } catch ({ code, message }) {
      showOutcome(id, code ? `${code}: ${message}` : message, false);
    }
  });
}

function showOutcome(id, text, isOk) {
  find(`${id}-outcome`).textContent = text;
  find(`${id}-outcome`).dataset.ok = isOk;
}

function openTab(chosenTab) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const isChosen = tab === chosenTab;
    tab.setAttribute("aria-selected", isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    find(tab.getAttribute("aria-controls")).hidden = !isChosen;
  }
}

const tabs = [...document.querySelectorAll("[role=tab]")];
tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => openTab(tab));
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (!step) return;
    const next = tabs.at((index + step) % tabs.length);
    openTab(next);
    next.focus();
  });
});

// Output

function showState(state, text) {
  find("state").dataset.state = state;
  find("state").textContent = text;
  find("connect").textContent = state === "idle" || state === "refused" ? "Connect" : "Disconnect";
  find("drop").disabled = state !== "live";
  if (state !== "live") expiresAt = null;
}

function showExpiry() {
  if (expiresAt === null) return show("token", "–");
  const seconds = Math.max(0, Math.round((expiresAt - Date.now()) / 1000));
  show("token", `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`);
}

function showTopics(received = []) {
  find("received").replaceChildren(
    ...received.map((topic) => {
      const chip = element("li", topic);
      if (!topics.has(topic)) return chip; // granted by the token itself
      const button = element("button", "×", {}, "quiet");
      button.type = "button";
      button.ariaLabel = `Unsubscribe from ${topic}`;
      button.addEventListener("click", () => {
        topics.delete(topic);
        client.unsubscribe(topic);
        chip.remove();
      });
      chip.append(button);
      return chip;
    }),
  );
}

function showSendable() {
  const isOpen = client.status.state === "open";
  find("send").querySelector("button").disabled = !isOpen;
  find("kill").disabled = !client.status.pod; // clients of Socket.IO are not told
}

function showAudience() {
  find("user-field").hidden = find("audience").value !== "user";
  find("topic-field").hidden = find("audience").value !== "topic";
}

function show(fact, text) {
  find(`fact-${fact}`).textContent = text;
  if (fact !== "latency") find(`fact-${fact}`).title = text;
}

async function showLinks() {
  const { publisher_url, gateway_urls, docs_url, can_kill, socketio_path } = await getJson("dev/links");
  find("kill").hidden = !can_kill;
  find("socketio").hidden = !socketio_path;
  socketIoPath = socketio_path;
  const others = gateway_urls.filter((url) => new URL(url).port !== location.port);
  const links = [
    ...others.map((url, index) => [others.length > 1 ? `Gateway ${index + 1}` : "The other gateway", url]),
    ["Publisher's API", `${publisher_url}/docs`],
    ...(docs_url ? [["Documentation", docs_url]] : []),
  ];
  find("links").replaceChildren(
    ...links.map(([text, url]) => {
      const link = element("a", text);
      Object.assign(link, { href: url, target: "_blank", rel: "noreferrer" });
      return link;
    }),
  );
}

setInterval(showExpiry, 1_000);
openTab(find("tab-publish"));
showAudience(); // after a reload, the browser may keep the old choices
connect();
showLinks().catch(({ message }) => addNotice(message, true));
