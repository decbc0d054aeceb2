// A backend that answers what the clients of a Clarion gateway send. See README.md.

import express from "express";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.CLARION_SECRET);
const app = express();

// What a message of each type does: it gets the client's data and the event around them.
const handlers = {
  "room.say": (data, event) => {
    if (typeof data?.text !== "string" || data.text === "") {
      return { refuse: { code: "invalid", message: "expected a text" } };
    }
    const said = { sender: event.clarionuser ?? "guest", text: data.text };
    return {
      reply: said,
      publish: [
        { audience: "all", type: "room.say", data: said, exclude: event.clarionconnection },
      ],
    };
  },
};

// The raw bytes: the signature covers them as they are.
app.post("/clarion", express.raw({ type: "application/cloudevents+json" }), (request, response) => {
  let event;
  try {
    event = webhook.verify(request.body.toString(), request.headers);
  } catch {
    response.sendStatus(403);
    return;
  }
  const handler = Object.hasOwn(handlers, event.clariontype) && handlers[event.clariontype];
  response.json(
    handler
      ? handler(event.data, event)
      : { refuse: { code: "unknown_type", message: "expected room.say" } },
  );
});

const port = Number(process.env.PORT ?? 3000);
const server = app.listen(port, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
