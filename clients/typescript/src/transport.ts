/** What the client needs of an operating system: start a process, write to it, hear of it, end it. */

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
  /** Whether the process is a reason for the app to stay alive. */
  hold?(busy: boolean): void;
}

export interface Transport {
  /** Starts a process. A failure comes as its end, never before this has returned. */
  start(listener: Listener): Connection;
}

/**
 * A process that doesn't read its stdin any more, and can't be asked anything, is killed after so long. One that is about
 * to end by itself tells more.
 */
export const DEAF_MS = 1000;

/** The last bytes of a stream that must be read but is seldom looked at. */
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
