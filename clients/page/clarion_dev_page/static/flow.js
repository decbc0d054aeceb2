// Events that flow while a gateway is killed: how many were published, and what has come of them.

const EVERY_MS = 100;
const TYPE = "page.flow";

export class Flow {
  #flow = null; // tells this page's events from those of other windows
  #timer = null;
  #published = 0;
  #failed = 0;
  #came = new Map(); // number -> times

  /**
   * @param publish publishes an event: `(type, data) => Promise`.
   * @param show is told how it stands.
   */
  constructor(publish, show) {
    this.publish = publish;
    this.show = show;
  }

  get flows() {
    return this.#timer !== null;
  }

  start() {
    this.#flow = crypto.getRandomValues(new Uint32Array(2)).join("-"); // randomUUID needs https
    this.#published = this.#failed = 0;
    this.#came.clear();
    let number = 0;
    this.#timer = setInterval(() => void this.#publishOne(number++), EVERY_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#tell();
  }

  /** Take an event; returns whether it is one of these. */
  hear({ type, data }) {
    if (type !== TYPE || data?.flow !== this.#flow) return false;
    this.#came.set(data.number, (this.#came.get(data.number) ?? 0) + 1);
    this.#tell();
    return true;
  }

  async #publishOne(number) {
    const flow = this.#flow;
    try {
      await this.publish(TYPE, { flow, number });
      if (flow === this.#flow) this.#published += 1;
    } catch {
      if (flow === this.#flow) this.#failed += 1;
    }
    this.#tell();
  }

  #tell() {
    const came = this.#came.size;
    const twice = [...this.#came.values()].filter((times) => times > 1).length;
    const missing = Math.max(0, this.#published - came);
    const words = [
      `${this.#published} published`,
      `${came} came`,
      missing === 0 ? "none missing" : this.flows ? `${missing} under way` : `${missing} missing`,
      twice === 0 ? "none twice" : `${twice} twice`,
      ...(this.#failed ? [`${this.#failed} not published`] : []),
    ];
    this.show(words.join(", "), twice === 0 && (this.flows || missing === 0));
  }
}
