// Prints each event as a line of JSON, for `clarion conformance --client`.
import { createClient } from "@clarion/client";
import WebSocket from "ws";

const client = createClient({ url: process.env.CLARION_GATEWAY_URL, WebSocket });
client.onAny((event) => console.log(JSON.stringify(event)));
