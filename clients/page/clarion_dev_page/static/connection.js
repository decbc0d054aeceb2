// A lasting connection to a gateway. It reconnects by itself and resumes from its position, so that
// nothing is lost or doubled. No DOM here: page.js shows the reports. docs/protocol.md and
// docs/errors.md describe the protocol.

const RETRY_FIRST_MS = 250;
const RETRY_LAST_MS = 10_000;
const RENEW_AT = 0.8; // of a token's lifetime
const TIMER_LAST_MS = 2 ** 31 - 1;
// A gateway answers within 10 s, by default, also when it cannot reach Redis.
const OPEN_MS = 12_000;
// A gateway sends a ping message in each interval. When two are missing, the connection is dead,
// although nothing has closed it.
const DEAF_AFTER_INTERVALS = 2;

// After one of these, the same client would only be closed again.
const UNAUTHENTICATED = 4401;
const FINAL_CODES = new Set([1002, 1003, 4400, UNAUTHENTICATED, 4403, 4413]);
const FINAL_STATUS = new Set([400, 401, 403, 404, 413]);

export class Connection {
  /**
   * @param {object} options
   * @param {(user: string) => Promise<string>} options.token  makes a token for a user
   * @param {(kind: string, fields: object) => void} options.report  hears of everything:
   *   state, welcome, event, reply, error, gap, identity
   */
  constructor({ token, report }) {
    this.transport = "websocket";
    this.user = "";
    this.position = null;
    this._connection = null;
    this._origin = null; // the connection on which the position was reached
    this._token = token;
    this._report = report;
    this._failures = 0;
    this._hint = null;
    this._ref = 0;
    this._attempt = 0; // whatever comes from an older attempt is ignored
    this._asked = new Map();
    this._close = () => {};
  }

  /** Connect as `user`, by `transport`, from `position`. */
  async open() {
    const attempt = this._begin();
    this._report("state", { state: "connecting" });
    this._expectWord(attempt, OPEN_MS);
    try {
      const token = this.user ? await this._token(this.user) : null;
      if (attempt !== this._attempt) return;
      if (this.transport === "sse") await this._openStream(attempt, token);
      else this._openSocket(attempt, token);
    } catch (error) {
      this._lost(attempt, { reason: error.message });
    }
  }

  /** Disconnect without a reconnect. The position is kept, so the next `open` resumes. */
  close() {
    this._begin();
    this._report("state", { state: "idle" });
  }

  /** Cut the connection as a bad network would, and reconnect after a while. */
  drop(milliseconds) {
    this._begin();
    this._wait(milliseconds, "dropped");
  }

  /** Change the user ("": anonymous): in band on a WebSocket, else by a new connection. */
  async become(user) {
    this.user = user;
    if (this.transport === "sse" || this._socket?.readyState !== WebSocket.OPEN) {
      if (this._isOn) await this.open();
      return;
    }
    const socket = this._socket;
    const token = user ? await this._token(user) : null;
    if (this.user === user && socket.readyState === WebSocket.OPEN) {
      this._send(socket, { kind: "auth", ref: ++this._ref, token });
    }
  }

  /** Send a message to the application's handler of `type`; resolves with its reply. */
  ask(type, data) {
    const socket = this._socket;
    if (socket?.readyState !== WebSocket.OPEN) {
      return Promise.reject(new Error("not connected by WebSocket"));
    }
    const ref = ++this._ref;
    return new Promise((resolve, reject) => {
      this._asked.set(ref, { resolve, reject });
      this._send(socket, { kind: "message", ref, type, data });
    });
  }

  _begin() {
    clearTimeout(this._timer);
    clearTimeout(this._renewal);
    clearTimeout(this._deaf);
    this._deafMs = null;
    this._close();
    this._close = () => {};
    this._socket = null;
    this._isOn = false;
    this._isLive = false;
    for (const { reject } of this._asked.values()) reject(new Error("the connection was lost"));
    this._asked.clear();
    return ++this._attempt;
  }

  /** Add the position, and the connection that reached it, so that its own events are left out. */
  _url(path) {
    const url = new URL(path, location);
    if (this.position !== null) url.searchParams.set("since", this.position);
    if (this._origin !== null) url.searchParams.set("connection", this._origin);
    return url;
  }

  _openSocket(attempt, token) {
    const url = this._url("ws");
    url.protocol = url.protocol.replace("http", "ws");
    // A browser cannot send an Authorization header with a WebSocket; a query may be logged.
    const protocols = token ? ["clarion.v1", `clarion.bearer.${token}`] : ["clarion.v1"];
    const socket = new WebSocket(url, protocols);
    this._socket = socket;
    this._isOn = true;
    this._close = () => socket.close();
    socket.onmessage = ({ data }) => {
      if (attempt !== this._attempt) return;
      this._receive(JSON.parse(data));
      this._expectWord(attempt, this._deafMs);
    };
    socket.onclose = ({ code, reason }) => {
      // The token expired while the machine slept: the next attempt brings a fresh one.
      const expired = code === UNAUTHENTICATED && this._isLive;
      const final = FINAL_CODES.has(code) && !expired;
      this._lost(attempt, { reason: reason || "connection lost", code, final });
    };
  }

  // EventSource passes on only events whose types are known beforehand, so the stream is read here.
  async _openStream(attempt, token) {
    const abort = new AbortController();
    this._isOn = true;
    this._close = () => abort.abort();
    const headers = { Accept: "text/event-stream" };
    if (token) headers.Authorization = `Bearer ${token}`;
    const response = await fetch(this._url("sse"), { headers, cache: "no-store", signal: abort.signal });
    if (!response.ok) {
      const final = FINAL_STATUS.has(response.status);
      this._lost(attempt, { reason: `refused with status ${response.status}`, final });
      return;
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (attempt !== this._attempt) return;
      if (done) break;
      buffer += value;
      const blocks = buffer.split("\n\n");
      buffer = blocks.pop();
      for (const block of blocks) this._receiveBlock(block);
      this._expectWord(attempt, this._deafMs);
    }
    this._lost(attempt, { reason: "the stream ended" });
  }

  /** One server-sent event. A name that begins with "$" marks a message that is not an event. */
  _receiveBlock(block) {
    const fields = { data: [] };
    for (const line of block.split("\n")) {
      const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
      if (name === "data") fields.data.push(value);
      else if (name) fields[name] = value;
    }
    if (!fields.event) return;
    const data = JSON.parse(fields.data.join("\n"));
    if (fields.event.startsWith("$")) {
      this._receive({ kind: fields.event.slice(1), id: fields.id, ...data });
    } else {
      const time = new Date(Number(fields.id) / 1000).toISOString();
      this._receive({ kind: "event", id: fields.id, type: fields.event, time, data });
    }
  }

  _receive(message) {
    if (message.id !== undefined) this.position = message.id;
    switch (message.kind) {
      case "event":
      case "gap":
        this._origin = this._connection;
        break;
      case "ping":
        return;
      case "welcome":
        this._connection = message.connection;
        // Gateways of 0.1 send no such pings.
        this._deafMs = DEAF_AFTER_INTERVALS * 1000 * message.ping_interval || null;
        if (message.resumed !== true) this._origin = message.connection;
        this._failures = 0;
        this._isLive = true;
        this._report("state", { state: "live" });
        this._renewLater(message);
        break;
      case "identity":
        this._renewLater(message);
        break;
      case "reconnect":
        this._hint = message.after_ms;
        break;
      case "reply":
      case "error":
        this._settle(message);
        break;
    }
    this._report(message.kind, message);
  }

  /** Give the connection up when nothing comes for so long; null: wait for ever. */
  _expectWord(attempt, milliseconds) {
    clearTimeout(this._deaf);
    if (milliseconds === null || attempt !== this._attempt) return;
    const reason = `nothing heard for ${milliseconds / 1000} s`;
    this._deaf = setTimeout(() => this._lost(attempt, { reason }), milliseconds);
  }

  _settle(message) {
    const asked = this._asked.get(message.ref);
    if (!asked) return;
    this._asked.delete(message.ref);
    if (message.kind === "reply") asked.resolve(message.data);
    else asked.reject(new Error(`${message.code}: ${message.message}`));
  }

  _renewLater({ expires_in: seconds }) {
    clearTimeout(this._renewal);
    if (seconds === null || !this.user) return;
    const wait = Math.min(TIMER_LAST_MS, seconds * 1000 * RENEW_AT);
    // No token is available: the old one expires, and the reconnect asks again.
    this._renewal = setTimeout(() => this.become(this.user).catch(() => {}), wait);
  }

  _lost(attempt, { reason, code, final }) {
    if (attempt !== this._attempt) return;
    this._begin();
    if (final) {
      this._report("state", { state: "refused", reason, code });
      return;
    }
    const ceiling = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** this._failures++);
    this._wait(this._hint ?? ceiling * Math.random(), reason);
    this._hint = null;
  }

  _wait(milliseconds, reason) {
    this._isOn = true;
    this._report("state", { state: "waiting", reason, milliseconds });
    this._timer = setTimeout(() => this.open(), milliseconds);
  }

  _send(socket, message) {
    socket.send(JSON.stringify(message));
  }
}
