// A client of Socket.IO with the part of the JavaScript client's interface that the page uses.

const ANSWER_MS = 10_000;
const EVENT_ID = /^\d{16}$/;

// From npm, unchanged. The gateway has it only where `make run` could get it.
let library;

export class SocketIoClient {
  status = { state: "connecting", reason: "connecting", retryAt: null };
  position = null;
  #socket = null;
  #options;
  #told = { status: new Set(), refresh: new Set(), event: new Set() };
  #user = null;
  #expiresAt = null;

  /**
   * @param options `path` of Socket.IO below the page, `topics` to ask for at each connect, and
   *   `getToken`, which is asked at each connect.
   */
  constructor(options) {
    this.#options = options;
    library ??= import("./socket.io.js");
    library.then(
      ({ io }) => this.#open(io),
      () => this.#set({ state: "closed", code: "no_library", reason: "this gateway lacks socket.io-client" }),
    );
  }

  onStatus(listener) {
    listener(this.status);
    return this.#listen("status", listener);
  }

  onRefresh(listener) {
    return this.#listen("refresh", listener);
  }

  onAny(listener) {
    return this.#listen("event", listener);
  }

  connect() {
    this.#set({ state: "connecting", reason: "connecting", retryAt: null });
    this.#socket?.connect();
  }

  close() {
    this.#set({ state: "closed", code: "closed", reason: "closed by the page" });
    this.#socket?.disconnect();
  }

  /** Connects anew, so that the library asks for another token. */
  async login() {
    this.#socket?.disconnect();
    this.connect();
  }

  async send(type, data) {
    const reply = await this.#ask(type, data);
    if (reply?.status === "error") throw Object.assign(new Error(reply.message), { code: reply.code });
    return reply;
  }

  async subscribe(topic) {
    const { topics, forbidden } = await this.send("$subscribe", [topic]);
    if (forbidden?.includes(topic)) throw new Error(`${topic} is not allowed`);
    this.#receive(topics);
  }

  unsubscribe(topic) {
    this.#socket?.emit("$unsubscribe", [topic]);
    this.#receive(this.status.topics.filter((each) => each !== topic));
  }

  #open(io) {
    const { path, getToken } = this.#options;
    const socket = io(location.origin, {
      path: new URL(path.slice(1), location.href).pathname,
      autoConnect: false,
      auth: (give) => {
        this.#identify(getToken).then(give, ({ message: reason }) => {
          this.#set({ state: "closed", code: "no_token", reason });
          socket.disconnect();
        });
      },
    });
    socket.on("connect", () => void this.#connected());
    socket.on("disconnect", (reason) => {
      if (reason === "io server disconnect") this.#set({ state: "closed", code: "disconnected", reason });
      else if (socket.active) this.#set({ state: "connecting", reason, retryAt: null });
    });
    socket.on("connect_error", ({ message, data }) => {
      if (socket.active) this.#set({ state: "connecting", reason: message, retryAt: null });
      else this.#set({ state: "closed", code: data?.code, reason: message });
    });
    socket.onAny((type, ...values) => this.#hear(type, values));
    this.#socket = socket;
    if (this.status.state !== "closed") socket.connect();
  }

  async #identify(getToken) {
    const token = await getToken();
    const claims = token && JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    this.#user = claims?.sub ?? null;
    this.#expiresAt = claims ? claims.exp * 1000 : null;
    return { token, recovery: true };
  }

  async #connected() {
    const { id, recovered } = this.#socket;
    const isFirst = this.position === null;
    this.#set({
      state: "open",
      user: this.#user,
      connection: id,
      resumed: isFirst ? undefined : recovered,
      topics: [],
      expiresAt: this.#expiresAt,
    });
    for (const topic of this.#options.topics) await this.subscribe(topic).catch(() => {});
  }

  #hear(type, values) {
    if (type === "$gap") return this.#tell("refresh", { reason: "gap", id: values[0].id });
    if (type.startsWith("$") || type === "exception") return;
    // The last value of an event is its id, with which the library recovers: microseconds of Redis.
    const id = EVENT_ID.test(values.at(-1)) ? values.pop() : null;
    if (id) this.position = id;
    const time = new Date(id ? Number(id) / 1000 : Date.now()).toISOString();
    this.#tell("event", { id: id ?? this.position, type, time, data: values[0] ?? null });
  }

  async #ask(type, data) {
    if (!this.#socket?.connected) throw new Error("not connected");
    return this.#socket.timeout(ANSWER_MS).emitWithAck(type, data);
  }

  #receive(topics) {
    this.#set({ ...this.status, topics });
  }

  #set(status) {
    this.status = status;
    this.#tell("status", status);
  }

  #listen(kind, listener) {
    this.#told[kind].add(listener);
    return () => this.#told[kind].delete(listener);
  }

  #tell(kind, value) {
    for (const listener of this.#told[kind]) listener(value);
  }
}
