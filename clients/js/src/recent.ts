import type { ClarionEvent } from "./protocol.js";

const EVENTS_MAX = 1_000;

/**
 * The last events of a connection, in the order in which they came, and from where on they are
 * complete. And last values: the newest event of each topic whose rule says `last_value`.
 */
export class Recent {
  #events: ClarionEvent[] = [];
  #lastValues = new Map<string | undefined, ClarionEvent>();
  #from: string | null = null;

  /** Begin anew: everything after this id will be added. */
  begin(id: string): void {
    this.#events = [];
    this.#lastValues.clear();
    this.#from = id;
  }

  /** Add the newest event. */
  add(event: ClarionEvent): void {
    this.#events.push(event);
    if (this.#lastValues.has(event.topic)) this.keep(event);
    if (this.#events.length > EVENTS_MAX) this.#from = this.#events.shift()!.id;
  }

  /** Keep a last value; it is no news, so no later event follows it. */
  keep(event: ClarionEvent): void {
    this.#lastValues.set(event.topic, event);
  }

  get lastValues(): Iterable<ClarionEvent> {
    return this.#lastValues.values();
  }

  /** The last id, or the one from which this begins. */
  get last(): string | null {
    return this.#events.at(-1)?.id ?? this.#from;
  }

  /** What came after an id; null: it is too old for that to be complete. */
  after(id: string): ClarionEvent[] | null {
    const found = this.#events.map((event) => event.id).lastIndexOf(id);
    if (found >= 0) return this.#events.slice(found + 1);
    if (this.#from === null || Number(id) < Number(this.#from)) return null;
    return this.#events.filter((event) => Number(event.id) > Number(id));
  }

  /** Whether this event is here. */
  has({ id, topic }: ClarionEvent): boolean {
    return this.#events.some((event) => event.id === id && event.topic === topic);
  }

  /** One that goes its own way from here. */
  copy(): Recent {
    const copy = new Recent();
    copy.#events = [...this.#events];
    copy.#lastValues = new Map(this.#lastValues);
    copy.#from = this.#from;
    return copy;
  }
}
