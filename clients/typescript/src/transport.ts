/** What the client needs of an operating system: starting a process, writing to it, reading from it, ending it. */

/** How a process ended, or why there never was one. */
export interface Ending {
  /** null after a signal, and where there was no process */
  readonly exitCode: number | null;
  readonly signal: string | number | null;
  /** the last few kilobytes of its stderr */
  readonly stderr: string;
  /** why it couldn't be started */
  readonly notStarted?: string;
}

export interface Listener {
  /** Bytes of stdout, cut anywhere. */
  data(chunk: Uint8Array): void;
  /** Once, after the last bytes. */
  end(ending: Ending): void;
}

/** One process, from its start to its end. Nothing here throws or rejects. */
export interface Connection {
  /** Settles when the next line may be written, at the latest when the process has ended. */
  write(line: string): Promise<void>;
  /** Closes stdin; false where that can't be done. */
  endInput(): boolean;
  /** Asks the process to end; false where that can't be done. */
  terminate(): boolean;
  kill(): void;
  /** Whether the process keeps the app alive, as `ref` and `unref` do in Node. */
  setRef?(busy: boolean): void;
}

export interface Transport {
  /** Starts a process. A failure comes as its end, never before this has returned. */
  start(listener: Listener): Connection;
}

/**
 * A process whose stdin fails can't take requests; the client kills it after this time. One that ends by itself until then
 * has an exit code that says more.
 */
export const STDIN_ERROR_KILL_MS = 1000;

/** The last bytes of a stream. */
export class Tail {
  readonly #limit: number;
  #kept: Uint8Array[] = [];
  #bytes = 0;

  constructor(limitBytes: number = 8192) {
    this.#limit = limitBytes;
  }

  push(chunk: Uint8Array): void {
    this.#kept.push(chunk.slice(-this.#limit));
    this.#bytes += Math.min(chunk.length, this.#limit);
    if (this.#bytes > 2 * this.#limit || this.#kept.length > 256) this.#shorten();
  }

  toString(): string {
    this.#shorten();
    return new TextDecoder().decode(this.#kept[0]);
  }

  #shorten(): void {
    const all = new Uint8Array(this.#bytes);
    let at = 0;
    for (const piece of this.#kept) {
      all.set(piece, at);
      at += piece.length;
    }
    this.#kept = [all.slice(-this.#limit)];
    this.#bytes = Math.min(this.#bytes, this.#limit);
  }
}
