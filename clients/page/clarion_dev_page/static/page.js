// The development page: shows the reports of connection.js, and lets a person try everything.

import { Connection } from "./connection.js";

const ROWS_LAST = 300;
const DROP_MS = 5_000;
// If an event is older than this when it arrives, it was missed before, not delivered late.
const LIVE_MS = 10_000;

const find = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

const names = { all: "all", authenticated: "authenticated", user: "to you", reply: "reply" };
let received = 0;
let welcomedAt = 0;
let expiresAt = null;

const connection = new Connection({
  token: async (user) => (await postJson("dev/token", { user })).token,
  report: (kind, fields) => reports[kind]?.(fields),
});

const reports = {
  state({ state, reason, code, milliseconds }) {
    const seconds = milliseconds === undefined ? "" : (milliseconds / 1000).toFixed(1);
    const texts = {
      idle: "not connected",
      connecting: "connecting …",
      live: "live",
      waiting: `back in ${seconds} s`,
      refused: "refused",
    };
    find("state").dataset.state = state;
    find("state").textContent = texts[state];
    find("connect").textContent = state === "idle" || state === "refused" ? "Connect" : "Disconnect";
    find("drop").disabled = state !== "live";
    if (state !== "live") expiresAt = null;
    if (state === "waiting") addNotice(`${reason}${code ? ` (${code})` : ""}`);
    if (state === "refused") addNotice(`refused: ${reason}${code ? ` (${code})` : ""}`, true);
    if (state === "idle") addNotice("disconnected");
    showSendable();
  },

  welcome({ connection: id, user, pod, resumed, expires_in }) {
    welcomedAt = Date.now();
    showIdentity(user, expires_in);
    show("pod", pod);
    show("connection", id);
    show("position", connection.position);
    const how = { true: ", resumed where it broke", false: ", not resumed: events may be missing" };
    addNotice(`connected to ${pod}, ${user ?? "anonymous"}${how[resumed] ?? ""}`, resumed === false);
  },

  event(event) {
    show("position", event.id);
    const age = Date.now() - Date.parse(event.time);
    const live = Date.parse(event.time) >= welcomedAt || age < 0;
    if (live && age < LIVE_MS) show("latency", `${Math.max(0, age)} ms`);
    addEvent(event, live ? null : "caught up");
  },

  identity({ user, expires_in }) {
    const before = find("fact-user").textContent;
    showIdentity(user, expires_in);
    if (before !== find("fact-user").textContent) {
      addNotice(user === null ? "logged out, same socket" : `logged in as ${user}, same socket`);
    }
  },

  gap({ id }) {
    show("position", id);
    addNotice("history broke: events before this may be missing", true);
  },

  error({ code, message, ref }) {
    if (ref === null || ref === undefined) addNotice(`${code}: ${message}`, true);
  },

  reconnect({ after_ms, reason }) {
    addNotice(`the gateway is ${reason}: back in ${(after_ms / 1000).toFixed(1)} s`);
  },
};

// Input

find("identity").addEventListener("change", () => attempt(connection.become(chosen("identity"))));

find("transport").addEventListener("change", () => {
  connection.transport = chosen("transport");
  attempt(connection.open());
});

find("connect").addEventListener("click", () => {
  if (find("connect").textContent === "Connect") attempt(connection.open());
  else connection.close();
});

find("drop").addEventListener("click", () => connection.drop(DROP_MS));

find("clear").addEventListener("click", () => {
  received = 0;
  find("events").replaceChildren();
  showCount();
});

find("audience").addEventListener("change", () => {
  find("user-field").hidden = chosen("audience") !== "user";
});

find("chat").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const text = find("text").value;
  const started = performance.now();
  try {
    const reply = await connection.ask("chat.message", { text });
    const took = `${(performance.now() - started).toFixed(1)} ms`;
    addEvent({ audience: "reply", type: "chat.message", time: new Date(), data: reply });
    showOutcome("chat-outcome", true, `answered in ${took}`);
    find("chat").reset();
  } catch (error) {
    showOutcome("chat-outcome", false, error.message);
  }
});

find("publish").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  try {
    const data = find("data").value;
    JSON.parse(data);
    const kind = chosen("audience");
    const audience = kind === "user" ? { user: find("user").value } : kind;
    // The text is inserted, not parsed and written again, so numbers stay as they were typed.
    const head = JSON.stringify({ audience, type: find("type").value }).slice(0, -1);
    const { publisher_url, publish_token } = await getJson("dev/session");
    const answer = await sendJson(`${publisher_url}/v1/events`, `${head},"data":${data}}`, {
      Authorization: `Bearer ${publish_token}`,
    });
    const pods = `${answer.gateways} gateway${answer.gateways === 1 ? "" : "s"}`;
    showOutcome("publish-outcome", true, `published ${answer.id} to ${pods}`);
  } catch (error) {
    showOutcome("publish-outcome", false, error.message);
  }
});

// Output

function addEvent({ audience, type, time, data, id }, remark = null) {
  const row = document.createElement("li");
  if (id) row.title = `id ${id}`;
  const badge = element("span", names[audience] ?? "sse", audience ? { audience } : {}, "badge");
  if (!audience) badge.title = "Server-sent events do not say whom they were for";
  row.append(badge);
  row.append(element("span", type, {}, "type"));
  row.append(element("time", [remark, clock(time)].filter(Boolean).join(" · "), {}, "when"));
  row.append(element("pre", JSON.stringify(data)));
  if (audience !== "reply") received += 1;
  addRow(row);
}

function addNotice(text, bad = false) {
  const newest = find("events").firstElementChild;
  if (newest?.dataset.notice === text) {
    // If a gateway is away for long, one row counts the attempts.
    const times = Number(newest.dataset.times ?? 1) + 1;
    newest.dataset.times = times;
    newest.firstElementChild.textContent = `${text}, ${times} times`;
    newest.lastElementChild.textContent = clock(new Date());
    return;
  }
  const row = element("li", "", { notice: text, ...(bad && { bad: "" }) }, "notice");
  row.append(element("span", text), element("time", clock(new Date()), {}, "when"));
  addRow(row);
}

function addRow(row) {
  const list = find("events");
  list.prepend(row);
  while (list.childElementCount > ROWS_LAST) list.lastElementChild.remove();
  showCount();
}

function showCount() {
  find("count").textContent = received;
  find("count").title = `${received} events received`;
  find("empty").hidden = received > 0 || find("events").querySelector("li:not(.notice)") !== null;
}

function showIdentity(user, seconds) {
  show("user", user ?? "anonymous");
  expiresAt = seconds === null ? null : Date.now() + seconds * 1000;
  showExpiry();
  showSendable();
}

function showExpiry() {
  if (expiresAt === null) return show("token", "–");
  const seconds = Math.max(0, Math.round((expiresAt - Date.now()) / 1000));
  show("token", `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`);
}

function showSendable() {
  const can = find("state").dataset.state === "live" && connection.transport === "websocket";
  const button = find("chat").querySelector("button");
  button.disabled = !can;
  button.title = can ? "" : "Needs a WebSocket: server-sent events go one way";
}

function showOutcome(id, ok, text) {
  find(id).dataset.ok = ok;
  find(id).textContent = text;
}

function show(fact, text) {
  find(`fact-${fact}`).textContent = text;
  if (fact !== "latency") find(`fact-${fact}`).title = text;
}

function element(name, text, dataset = {}, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  Object.assign(made.dataset, dataset);
  if (className) made.className = className;
  return made;
}

function clock(time) {
  const at = new Date(time);
  const part = (number, width = 2) => String(number).padStart(width, "0");
  const second = `${part(at.getSeconds())}.${part(at.getMilliseconds(), 3)}`;
  return `${part(at.getHours())}:${part(at.getMinutes())}:${second}`;
}

// Requests

async function attempt(promise) {
  try {
    await promise;
  } catch (error) {
    addNotice(error.message, true);
  }
}

const getJson = (url) => answerOf(fetch(url, { cache: "no-store" }), url);
const postJson = (url, value) => sendJson(url, JSON.stringify(value), {});
const sendJson = (url, body, headers) =>
  answerOf(
    fetch(url, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body }),
    url,
  );

async function answerOf(request, url) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Error(`no answer from ${new URL(url, location).host}`);
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.detail ?? body.title ?? `status ${response.status}`);
  return body;
}

setInterval(showExpiry, 1_000);
// After a reload, the browser may keep the old choices.
connection.user = chosen("identity");
connection.transport = chosen("transport");
find("user-field").hidden = chosen("audience") !== "user";
attempt(connection.open());
