export { Client, createClient } from "./client.js";
export type { Calls, Options, Refresh, Status, Token, TokenContext } from "./client.js";
export { NoAnswerError, RefusalError, Stop } from "./errors.js";
export type { StorageLike } from "./position.js";
export type { ClarionEvent, Presence } from "./protocol.js";
export { fetchToken } from "./token.js";
export type { WebSocketConstructor, WebSocketLike } from "./websocket.js";
