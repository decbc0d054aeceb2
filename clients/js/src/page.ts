/** What a page tells the client about itself and the network. Nothing outside browsers. */
export interface PageListener {
  /** The network may be back, or a person looks at the page: an attempt is worth making now. */
  awake(): void;
  /** The page goes to the back-forward cache, where open connections keep pages out. */
  frozen(): void;
  /** The page is shown again from that cache. */
  thawed(): void;
  /** The page may end. */
  hidden(): void;
}

/** Listen to the page; returns a function that stops. */
export function watchPage(listener: PageListener): () => void {
  if (!globalThis.document) return () => {};
  const stop = new AbortController();
  const on = (target: EventTarget, type: string, handler: (event: any) => void) =>
    target.addEventListener(type, handler, { signal: stop.signal });
  on(window, "online", () => listener.awake());
  on(document, "visibilitychange", () =>
    document.visibilityState === "visible" ? listener.awake() : listener.hidden(),
  );
  on(window, "pagehide", ({ persisted }: PageTransitionEvent) => {
    listener.hidden();
    if (persisted) listener.frozen();
  });
  on(window, "pageshow", ({ persisted }: PageTransitionEvent) => {
    if (persisted) listener.thawed();
  });
  return () => stop.abort();
}
