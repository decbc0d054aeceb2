import type { Client, ClarionEvent, Presence, Refresh } from "./index.js";

const RETRY_FIRST_MS = 1_000;
const RETRY_LAST_MS = 30_000;

export interface TopicOptions<State> {
  /** Fetches the topic's state. If it throws, it is called again after a while. */
  load: (context: { signal: AbortSignal; reason: Refresh["reason"] }) => State | Promise<State>;
  /**
   * The state after an event. An event that came while the state was loaded may be in it already, so
   * applying one twice must do no harm.
   */
  reduce: (state: State, event: ClarionEvent<string, any>) => State;
}

export interface TopicState<State> {
  /** Undefined until it is loaded. */
  readonly state: State | undefined;
  readonly isLoading: boolean;
  /** Why the topic cannot be received, or why its state could not be loaded. */
  readonly error: Error | null;
  /** Who receives the topic, if a rule of the topic lets clients know; null until it is told. */
  readonly presence: Presence | null;
}

/** Before anything has come. */
export const NOTHING_YET: TopicState<never> = { state: undefined, isLoading: true, error: null, presence: null };

/**
 * Keep the state of a topic; returns a function that stops.
 *
 * @param options gives the ones of now.
 * @param show is called with each new state.
 */
export function followTopic<State>(
  client: Client<any, any>,
  topic: string,
  options: () => TopicOptions<State>,
  show: (now: TopicState<State>) => void,
): () => void {
  let now: TopicState<State> = NOTHING_YET;
  let came: ClarionEvent[] = []; // while the state is loaded
  let loading: AbortController | null = null;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let wasAsked = false;
  let isStopped = false;
  const become = (change: Partial<TopicState<State>>) => {
    if (!isStopped) show((now = { ...now, ...change }));
  };

  async function load(reason: Refresh["reason"], failures = 0): Promise<void> {
    clearTimeout(retry);
    loading?.abort();
    const own = (loading = new AbortController());
    wasAsked = true;
    came = [];
    become({ isLoading: true });
    try {
      let state = (await options().load({ signal: own.signal, reason })) as State;
      if (loading !== own || isStopped) return;
      for (const event of came) state = options().reduce(state, event);
      loading = null;
      become({ state, isLoading: false, error: null });
    } catch (error) {
      if (loading !== own || isStopped) return;
      become({ error: error as Error });
      const afterMs = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** failures);
      retry = setTimeout(() => void load(reason, failures + 1), afterMs * (0.5 + Math.random() / 2));
    }
  }

  const stops = [
    client.onAny((event) => {
      if (event.topic !== topic) return;
      if (loading) came.push(event);
      else if (wasAsked) become({ state: options().reduce(now.state as State, event) });
    }),
    client.onPresence(topic, (presence) => become({ presence })),
    client.onRefresh(({ reason, topic: only }) => {
      if (only === undefined || only === topic) void load(reason);
    }),
  ];
  client.subscribe(topic).then(
    // Another part of the page receives it already: then no refresh comes.
    () => wasAsked || isStopped || void load("first"),
    (error: Error) => become({ error, isLoading: false }),
  );
  return () => {
    isStopped = true;
    clearTimeout(retry);
    loading?.abort();
    for (const stop of stops) stop();
    client.unsubscribe(topic);
  };
}
