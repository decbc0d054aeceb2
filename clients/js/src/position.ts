import type { Position } from "./protocol.js";

/** The part of `localStorage` and `sessionStorage` that the client uses. */
export interface StorageLike {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

// Writing to a browser's storage blocks the page, so not for every event.
const WRITE_EVERY_MS = 250;

/** The client's position, kept in a storage where there is one. */
export class Kept {
  #value: Position | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #storage: StorageLike | undefined;
  readonly #key: string;

  constructor(storage: StorageLike | (() => StorageLike) | undefined, key: string) {
    this.#key = key;
    try {
      this.#storage = typeof storage === "function" ? storage() : storage;
      const found = JSON.parse(this.#storage?.getItem(key) ?? "null");
      if (/^\d{1,16}$/.test(found?.id)) this.#value = found;
    } catch {
      // Not ours, or no access to storage: begin anew.
    }
  }

  get value(): Position | null {
    return this.#value;
  }

  set value(position: Position | null) {
    this.#value = position;
    if (this.#storage) this.#timer ??= setTimeout(() => this.flush(), WRITE_EVERY_MS);
  }

  /** Write what is not yet written: the page may go away. */
  flush(): void {
    if (!this.#timer) return;
    this.#timer = clearTimeout(this.#timer) as undefined;
    try {
      this.#storage!.setItem(this.#key, JSON.stringify(this.#value));
    } catch {
      // Full, or forbidden: a reload begins at an older position, or anew.
    }
  }
}
