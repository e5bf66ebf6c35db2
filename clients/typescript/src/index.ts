export { Sidecar } from "./client.js";
export type { CallOptions, Command, Params, SidecarOptions } from "./client.js";
export { SidecarError } from "./errors.js";
export type { ClientErrorCode } from "./errors.js";
export type * from "./protocol.js";
export { TextStream } from "./stream.js";
export type { Connection, Ending, Listener, Transport } from "./transport.js";
