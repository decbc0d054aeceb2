/** Hooks for React 18 and newer. A client is an ordinary value: pass it by props or a context of your own. */
import { useCallback, useEffect, useInsertionEffect, useRef, useState, useSyncExternalStore } from "react";
import { Client, type Calls, type ClarionEvent, type Options, type Status } from "./index.js";
import { followTopic, NOTHING_YET, type TopicOptions, type TopicState } from "./follow.js";

export type { TopicOptions, TopicState } from "./follow.js";

type EventMap = Record<string, any>;
type AnyCalls = Record<string, { data: any; reply: any }>;

/**
 * A client that is connected while the component is mounted.
 *
 * The options of the first render count; of `getToken` the latest one is called.
 *
 * @example
 * const client = useClient({ url: "https://events.example.com", getToken: fetchToken("/token") });
 */
export function useClient<Events extends EventMap = EventMap, Messages extends Calls = AnyCalls>(
  options: Options,
): Client<Events, Messages> {
  const getToken = useLatest(options.getToken);
  const closing = useRef<ReturnType<typeof setTimeout>>(undefined);
  const [client] = useState(() => {
    const token: Options = { ...options, url: onServer(options.url) };
    if (options.getToken) token.getToken = (context) => getToken.current?.(context) ?? null;
    return new Client<Events, Messages>(token);
  });
  useEffect(() => {
    clearTimeout(closing.current);
    client.connect();
    return () => {
      // Not at once: in StrictMode, React mounts the component again in the same moment.
      closing.current = setTimeout(() => client.close());
    };
  }, [client]);
  return client;
}

/** Call a handler for each event of a type while the component is mounted; always the handler of the last render. */
export function useEvent<Events extends EventMap, Type extends keyof Events & string>(
  client: Client<Events, any>,
  type: Type,
  handler: (data: Events[Type], event: ClarionEvent<Type, Events[Type]>) => void,
): void {
  const latest = useLatest(handler);
  useEffect(() => client.on(type, (data, event) => latest.current(data, event)), [client, type, latest]);
}

/** How the client is, anew at each change. */
export function useStatus(client: Client<any, any>): Status {
  const subscribe = useCallback((changed: () => void) => client.onStatus(changed), [client]);
  const now = () => client.status;
  return useSyncExternalStore(subscribe, now, now);
}

/**
 * Receive a topic while the component is mounted, and keep its state: `load` fetches it, at first and
 * whenever events may be missing, and `reduce` applies each event.
 *
 * @example
 * const { state, isLoading, error } = useTopic(client, `order.${id}`, {
 *   load: ({ signal }) => fetch(`/orders/${id}`, { signal }).then((response) => response.json()),
 *   reduce: (order, event) => ({ ...order, ...event.data }),
 * });
 */
export function useTopic<State>(
  client: Client<any, any>,
  topic: string,
  options: TopicOptions<State>,
): TopicState<State> {
  const latest = useLatest(options);
  const [followed, show] = useState<{ topic: string; client: object; now: TopicState<State> }>();
  useEffect(() => {
    const shown = (now: TopicState<State>) => show({ topic, client, now });
    return followTopic(client, topic, () => latest.current, shown);
  }, [client, topic, latest]);
  const isCurrent = followed?.topic === topic && followed.client === client;
  return isCurrent ? followed.now : NOTHING_YET;
}

function useLatest<Value>(value: Value): { readonly current: Value } {
  const latest = useRef(value);
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}

/** On a server, which never connects, a relative url would be none. */
function onServer(url: string | URL): string | URL {
  return typeof location === "undefined" ? new URL(url, "http://server.invalid") : url;
}
