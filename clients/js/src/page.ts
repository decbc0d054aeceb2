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
  const hear = ({ type, persisted }: Event & { persisted?: boolean }) => {
    const isLeft = type === "pagehide";
    if (isLeft || (document.visibilityState === "hidden" && type !== "online")) listener.hidden();
    else if (!persisted) listener.awake();
    if (persisted) (isLeft ? listener.frozen : listener.thawed)();
  };
  for (const type of ["online", "pagehide", "pageshow", "visibilitychange"]) addEventListener(type, hear, { capture: true, signal: stop.signal });
  return () => stop.abort();
}
