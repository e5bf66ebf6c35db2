/** The worker as a child process of Node or of Electron's main process. */
import { type ChildProcess, spawn } from "node:child_process";
import { statSync } from "node:fs";
import type { Socket } from "node:net";
import { invokeUserCallback } from "./callbacks.js";
import { type Connection, STDIN_ERROR_KILL_MS, type Listener, Tail, type Transport } from "./transport.js";

export interface NodeOptions {
  /** The executable: a path, or a name that is looked up in PATH. */
  readonly command: string;
  readonly args?: readonly string[];
  /** In addition to the app's own environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** The worker's log, as it comes. Its end is kept anyway, for the error of a worker that ends. */
  readonly onStderr?: (text: string) => void;
}

/** How long to read the pipes after the process has ended; a grandchild may hold them open. */
const LAST_BYTES_MS = 300;

export function nodeTransport(options: NodeOptions): Transport {
  return { start: (listener) => new NodeConnection(options, listener) };
}

class NodeConnection implements Connection {
  readonly #child: ChildProcess;
  readonly #listener: Listener;
  readonly #stderr = new Tail();
  #ended = false;
  #roomToWrite: () => void = () => {};

  constructor(options: NodeOptions, listener: Listener) {
    this.#listener = listener;
    this.#child = start(options);
    this.#child.on("error", (error) => this.#child.pid === undefined && this.#end(error.message));
    this.#child.on("exit", () => setTimeout(() => this.#end(), LAST_BYTES_MS).unref());
    this.#child.on("close", () => this.#end());
    this.#listen(options);
  }

  write(line: string): Promise<void> {
    const { stdin } = this.#child;
    if (this.#ended || !stdin?.writable || stdin.write(line)) return Promise.resolve();
    return new Promise((resolve) => (this.#roomToWrite = resolve));
  }

  endInput(): boolean {
    this.#child.stdin?.end();
    return true;
  }

  terminate(): boolean {
    return this.#child.kill("SIGTERM");
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  setRef(busy: boolean): void {
    if (this.#ended) return;
    const word = busy ? "ref" : "unref";
    this.#child[word]();
    for (const stream of this.#child.stdio ?? []) (stream as Socket | null)?.[word]?.();
  }

  #listen({ onStderr }: NodeOptions): void {
    const { stdin, stdout, stderr } = this.#child;
    stdout?.on("data", (chunk: Buffer) => this.#ended || this.#listener.data(chunk));
    const decoder = new TextDecoder();
    stderr?.on("data", (chunk: Buffer) => {
      this.#stderr.push(chunk);
      invokeUserCallback(() => onStderr?.(decoder.decode(chunk, { stream: true })));
    });
    stdin?.on("drain", () => this.#roomToWrite());
    // The end of the process explains a broken pipe.
    for (const stream of [stdin, stdout, stderr]) stream?.on("error", () => this.#roomToWrite());
    stdin?.on("error", () => setTimeout(() => this.kill(), STDIN_ERROR_KILL_MS).unref());
  }

  #end(notStarted?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#roomToWrite();
    // A grandchild that holds the pipes would keep the app alive.
    for (const stream of this.#child.stdio ?? []) stream?.destroy();
    const { exitCode, signalCode } = this.#child;
    const ending = { exitCode, signal: signalCode, stderr: String(this.#stderr) };
    this.#listener.end(notStarted === undefined ? ending : { ...ending, notStarted });
  }
}

/** With too many files open the child has no pipes; Node reports the failed start as an event. */
function start({ command, args = [], env, cwd }: NodeOptions): ChildProcess {
  // For a missing folder the system reports a missing command.
  if (cwd !== undefined && !statSync(cwd, { throwIfNoEntry: false })?.isDirectory()) {
    throw new Error(`its cwd ${JSON.stringify(cwd)} is not a folder that exists`);
  }
  const where = cwd === undefined ? {} : { cwd };
  return spawn(command, args, { stdio: "pipe", env: { ...process.env, ...env }, windowsHide: true, ...where });
}
