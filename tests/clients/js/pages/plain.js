// What a page does first, and with the files that are loaded when they are needed.
import { createClient } from "@clarion/client";

window.connected = (options) =>
  new Promise((resolve) => {
    const client = createClient(options);
    client.onStatus(({ state, transport }) => state === "open" && resolve(transport));
  });
