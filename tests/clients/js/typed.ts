import { createClient, type Status } from "@clarion/client";

interface Events {
  "order.updated": { id: number };
}
type Messages = { "chat.message": { data: { text: string }; reply: { at: string } } };

const client = createClient<Events & Record<string, any>, Messages>({ url: "https://events.example.com" });
client.on("order.updated", (order, event) => {
  const id: number = order.id;
  const position: string = event.id;
  // @ts-expect-error an order has no such field
  return [id, position, order.nothing];
});
const reply: Promise<{ at: string }> = client.send("chat.message", { text: "hi" });
// @ts-expect-error `text` is missing
void client.send("chat.message", {});
// @ts-expect-error there is no such message
void client.send("chat.other", { text: "hi" });
client.onStatus((status: Status) => {
  if (status.state === "open") status.user satisfies string | null;
  // @ts-expect-error only an open connection has a user
  return status.user;
});
export { reply };
