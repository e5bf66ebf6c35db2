export { Sidecar } from "./client.js";
export type { CallOptions, Command, Params, SidecarOptions } from "./client.js";
export { SidecarError } from "./errors.js";
export type { ClientErrorCode } from "./errors.js";
// Not `export type *`: compilers before TypeScript 5 skip it without a word.
export * from "./protocol.js";
export { TextStream } from "./stream.js";
export type { Connection, Ending, Listener, Transport } from "./transport.js";
