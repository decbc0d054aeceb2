// A page in StrictMode: React mounts each component twice there, and runs each effect twice.
import { StrictMode, startTransition, useState } from "react";
import { createRoot } from "react-dom/client";
import { useClient, useEvent, useStatus, useTopic } from "@clarion/client/react";

const { url, token, transport } = window.given;
window.heard = [];
window.loads = [];
window.atRender = [];

function Page() {
  const client = useClient({ url, transport, getToken: () => token });
  window.client = client;
  const status = useStatus(client);
  const [order, setOrder] = useState("order.1");
  const [hasRoom, setRoom] = useState(true);
  const [renders, setRenders] = useState(0);
  window.open = (topic) => startTransition(() => setOrder(topic));
  window.leave = () => setRoom(false);
  useEvent(client, "tick", (data) => {
    heard.push(data);
    atRender.push(renders); // what the handler of the last render knows
    setRenders((before) => before + 1);
  });
  return (
    <>
      <p id="status">{status.state === "open" ? `${status.user} ${status.topics}` : status.state}</p>
      <Order client={client} topic={order} id="order" />
      {hasRoom && <Order client={client} topic={order} id="same" />}
      <p id="renders">{renders}</p>
    </>
  );
}

function Order({ client, topic, id }) {
  const { state, isLoading, error, presence } = useTopic(client, topic, {
    async load({ reason }) {
      loads.push([id, topic, reason]);
      const response = await fetch(`/state/${topic}`);
      return [await response.text()];
    },
    reduce: (all, event) => [...all, event.data],
  });
  return <p id={id} data-members={presence?.members}>{error ? error.message : isLoading ? "loading" : state.join(" ")}</p>;
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
