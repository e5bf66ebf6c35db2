/**
 * The worker of a Tauri app, started by the page through `@tauri-apps/plugin-shell`: a sidecar, or a program.
 *
 * The plugin hands over stdout `raw`: arrays of numbers, up to 8 KiB each, cut anywhere (its text mode cuts at CR too).
 * It can't close stdin or send SIGTERM, so the steps of closing are `shutdown` and `kill`. It writes to stdin on the
 * app's main thread: one line after the other, and never more than the worker takes (`maxInFlight`).
 */
import { type Child, Command } from "@tauri-apps/plugin-shell";
import { invokeUserCallback } from "./callbacks.js";
import { killOrphans, forgetProcess, rememberProcess } from "./orphans.js";
import { type Connection, STDIN_ERROR_KILL_MS, type Listener, Tail, type Transport } from "./transport.js";

/** One of the two, by its name in the capability. */
type Named =
  | {
      /** A single file beside the app, as in `externalBin` of tauri.conf.json: "binaries/mlx-sidecar". */
      readonly sidecar: string;
      readonly program?: undefined;
    }
  | {
      /** A command with its path in `cmd`, such as the bundle among the app's resources. */
      readonly program: string;
      readonly sidecar?: undefined;
    };

export type TauriOptions = Named & {
  /** As the capability allows them. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** The worker's log, as it comes. */
  readonly onStderr?: (text: string) => void;
};

export function tauriTransport(options: TauriOptions): Transport {
  return { start: (listener) => new TauriConnection(options, listener) };
}

class TauriConnection implements Connection {
  readonly #listener: Listener;
  readonly #stderr = new Tail();
  readonly #decoder = new TextDecoder();
  readonly #spawned: Promise<void>;
  #child: Child | undefined;
  #ended = false;
  #written: Promise<void> = Promise.resolve();

  constructor(options: TauriOptions, listener: Listener) {
    this.#listener = listener;
    killOrphans();
    const command = commandOf(options);
    command.stdout.on("data", (chunk) => this.#ended || listener.data(bytesOf(chunk)));
    command.stderr.on("data", (chunk) => this.#log(bytesOf(chunk), options));
    command.on("close", ({ code, signal }) => this.#end(code, signal));
    command.on("error", (message) => this.#break(message));
    this.#spawned = command.spawn().then(
      (child) => this.#began(child),
      (reason: unknown) => this.#end(null, null, String(reason)),
    );
  }

  write(line: string): Promise<void> {
    // Each waits for the one before: two calls into Tauri may overtake each other.
    this.#written = this.#written.then(async () => {
      await this.#spawned;
      if (!this.#ended) await this.#child?.write(line).catch(() => this.#killSoon());
    });
    return this.#written;
  }

  endInput(): boolean {
    return false;
  }

  terminate(): boolean {
    return false;
  }

  kill(): void {
    void this.#spawned.then(() => this.#child?.kill()).catch(() => {});
  }

  /** It didn't take what was written; its end says it better. */
  #killSoon(): void {
    setTimeout(() => this.#ended || this.kill(), STDIN_ERROR_KILL_MS);
  }

  #began(child: Child): void {
    this.#child = child;
    if (!this.#ended) rememberProcess(child.pid);
  }

  #log(chunk: Uint8Array, { onStderr }: TauriOptions): void {
    this.#stderr.push(chunk);
    invokeUserCallback(() => onStderr?.(this.#decoder.decode(chunk, { stream: true })));
  }

  /** The plugin has lost the process, and won't say how it ends. */
  #break(message: string): void {
    this.#stderr.push(new TextEncoder().encode(message));
    this.kill();
    this.#end(null, null);
  }

  #end(exitCode: number | null, signal: number | null, notStarted?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#child) forgetProcess(this.#child.pid);
    const ending = { exitCode, signal, stderr: String(this.#stderr) };
    this.#listener.end(notStarted === undefined ? ending : { ...ending, notStarted });
  }
}

function commandOf({ sidecar, program, args = [], env, cwd }: TauriOptions): Command<Uint8Array> {
  const where = { ...(env ? { env } : {}), ...(cwd === undefined ? {} : { cwd }) };
  const options = { encoding: "raw", ...where } as const;
  return sidecar === undefined ? Command.create(program, [...args], options) : Command.sidecar(sidecar, [...args], options);
}

/** The plugin's types say Uint8Array; what comes through its channel is an array of numbers. */
function bytesOf(chunk: Uint8Array | readonly number[]): Uint8Array {
  return chunk instanceof Uint8Array ? chunk : Uint8Array.from(chunk);
}
