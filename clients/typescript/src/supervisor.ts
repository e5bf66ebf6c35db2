/** Starts, restarts and ends the worker's process. */
import { SidecarError } from "./errors.js";
import { Lines, LineTooLong } from "./lines.js";
import type { Connection, Ending, Listener, Transport } from "./transport.js";

// Restarting is lazy: the next call starts the next process, so a worker that keeps crashing is started a bounded number
// of times, and only for a call.

export interface RestartPolicy {
  /** How often in a row a process that ended is followed by another. */
  readonly restarts: number;
  /** Waits before these; the last one stands for all further ones. */
  readonly backoffMs: readonly number[];
  /** A process that lived so long resets the count. */
  readonly healthyMs: number;
}

export interface Events {
  started(): void;
  line(text: string): void;
  /** The process ended; its calls fail with this. */
  ended(error: SidecarError): void;
  /** There won't be another process. */
  gaveUp(error: SidecarError): void;
}

/** After `shutdown` was written: how long each further step is given. */
const AFTER_EOF_MS = 1000;
const AFTER_TERM_MS = 2500;
const AFTER_KILL_MS = 1000;

/** The exit code for bad flags or settings: a restart would fail the same way. */
const BAD_FLAGS = 2;

export class Supervisor {
  readonly #transport: Transport;
  readonly #policy: RestartPolicy;
  readonly #events: Events;
  #connection: Connection | undefined;
  #ended: Promise<void> = Promise.resolve();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #endings = 0;
  #lastEnding: { readonly at: number; readonly error: SidecarError } | undefined;
  #stopped = false;

  constructor(transport: Transport, policy: RestartPolicy, events: Events) {
    this.#transport = transport;
    this.#policy = policy;
    this.#events = events;
  }

  get connection(): Connection | undefined {
    return this.#connection;
  }

  /** Starts a process, now or after the wait, or reports that there will be none. */
  want(): void {
    if (this.#connection || this.#timer || this.#stopped) return;
    if (this.#endings > this.#policy.restarts) return this.#events.gaveUp(this.#whyNot());
    const wait = this.#waitMs();
    if (wait <= 0) return this.#start();
    this.#timer = setTimeout(() => this.#start(), wait);
  }

  /** Drops a start that waits. */
  wantNoMore(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Resets the count and starts at once. */
  startNow(): void {
    if (this.#connection || this.#stopped) return;
    this.#endings = 0;
    this.#start();
  }

  /** Ends the process: by itself within `graceMs`, by EOF, by SIGTERM, by SIGKILL. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    this.wantNoMore();
    const steps: Array<[step: (connection: Connection) => boolean, ms: number]> = [
      [() => true, graceMs],
      [(connection) => connection.endInput(), AFTER_EOF_MS],
      [(connection) => connection.terminate(), AFTER_TERM_MS],
      [(connection) => (connection.kill(), true), AFTER_KILL_MS],
    ];
    for (const [step, ms] of steps) {
      if (this.#connection && step(this.#connection)) await within(ms, this.#ended);
    }
    this.#connection = undefined;
  }

  #start(): void {
    this.wantNoMore();
    const lines = new Lines();
    const begun = Date.now();
    let end = (): void => {};
    this.#ended = new Promise((resolve) => (end = resolve));
    const connection = started(this.#transport, {
      data: (chunk) => this.#read(connection, () => lines.push(chunk)),
      end: (ending) => {
        this.#read(connection, () => [lines.last()]);
        this.#end(connection, ending, Date.now() - begun);
        end();
      },
    });
    this.#connection = connection;
    this.#events.started();
  }

  #read(connection: Connection, lines: () => Iterable<string>): void {
    if (connection !== this.#connection) return;
    try {
      for (const line of lines()) this.#events.line(line);
    } catch (error) {
      if (!(error instanceof LineTooLong)) throw error;
      connection.kill(); // Not a worker.
    }
  }

  #end(connection: Connection, ending: Ending, livedMs: number): void {
    if (connection !== this.#connection) return;
    this.#connection = undefined;
    this.#endings = livedMs >= this.#policy.healthyMs ? 1 : this.#endings + 1;
    const error = errorOf(ending);
    this.#lastEnding = { at: Date.now(), error };
    this.#events.ended(error);
  }

  #waitMs(): number {
    const { backoffMs } = this.#policy;
    if (!this.#lastEnding || !this.#endings) return 0;
    const wait = backoffMs[Math.min(this.#endings, backoffMs.length) - 1] ?? 0;
    return this.#lastEnding.at + wait - Date.now();
  }

  #whyNot(): SidecarError {
    const last = this.#lastEnding?.error;
    const message = `the worker ended ${this.#endings} times in a row and isn't started again before start(): ${last?.message}`;
    return new SidecarError(message, "worker_not_started", false, last?.data, { cause: last });
  }
}

/** Reports what a transport throws, such as for a bad path, as the end of a process. */
function started(transport: Transport, listener: Listener): Connection {
  try {
    return transport.start(listener);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    queueMicrotask(() => listener.end({ exitCode: null, signal: null, stderr: "", notStarted: reason }));
    return { write: () => Promise.resolve(), endInput: () => false, terminate: () => false, kill: () => {} };
  }
}

function errorOf({ exitCode, signal, stderr, notStarted }: Ending): SidecarError {
  if (notStarted !== undefined) {
    return new SidecarError(`the worker could not be started: ${notStarted}`, "worker_not_started", false);
  }
  const how = signal === null ? `exit code ${exitCode}` : `signal ${signal}`;
  const said = stderr.trim().split("\n").at(-1);
  const message = `the worker ended with ${how}${said ? `: ${said}` : ""}`;
  const retryable = exitCode !== BAD_FLAGS;
  return new SidecarError(message, "worker_ended", retryable, { exit_code: exitCode, signal, stderr });
}

async function within(ms: number, settled: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([settled, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}
