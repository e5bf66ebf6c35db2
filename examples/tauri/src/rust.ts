// A transport of one's own: the worker belongs to the app's Rust side (src-tauri/src/worker.rs), the page only talks to it.
import { Channel, invoke } from "@tauri-apps/api/core";
import type { Connection, Ending, Transport } from "mlx-sidecar";

/** Bytes of stdout; or, as the last message, how the process ended. */
type Message = ArrayBuffer | Ending;

export function rustTransport(): Transport {
  return {
    start(listener) {
      let written: Promise<unknown> = Promise.resolve();
      const tell = (command: string, args?: Record<string, unknown>): Promise<unknown> => invoke(command, args).catch(() => {});
      const messages = new Channel<Message>((message) => {
        if (message instanceof ArrayBuffer) listener.data(new Uint8Array(message));
        else listener.end(message);
      });
      invoke("worker_start", { messages }).catch((reason: unknown) =>
        listener.end({ exitCode: null, signal: null, stderr: "", notStarted: String(reason) }),
      );
      const connection: Connection = {
        // One after the other: two calls into Tauri may overtake each other.
        write: (line) => (written = written.then(() => tell("worker_write", { line }))).then(() => {}),
        endInput: () => (void tell("worker_end_input"), true),
        terminate: () => false,
        kill: () => void tell("worker_kill"),
      };
      return connection;
    },
  };
}
