/** A text while it is written: iterate over its pieces, or wait for `result`, or both. */
export class TextStream<Result> implements AsyncIterable<string> {
  /** The response, when the text is complete. Rejects as a call does. */
  readonly result: Promise<Result>;
  readonly #cancel: (reason?: unknown) => void;
  readonly #pieces: string[] = [];
  #ended = false;
  #wake: Array<() => void> = [];

  /** `begin` starts the request: it hands pieces to its argument, and says how to end it early. */
  constructor(begin: (onDelta: (text: string) => void) => Begun<Result>) {
    const { answer, cancel } = begin((text) => this.#push(text));
    this.#cancel = cancel;
    this.result = answer.finally(() => this.#end());
    // Who only iterates sees the error there; it must not count as one that nobody handled.
    this.result.catch(() => {});
  }

  /** Ends the request; the pieces that came can still be read. */
  cancel(reason?: unknown): void {
    this.#cancel(reason);
  }

  /** The pieces in order; together they are exactly the text. Leaving the loop early cancels the request. */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, void> {
    try {
      while (this.#pieces.length || !this.#ended) {
        if (this.#pieces.length) yield this.#pieces.shift()!;
        else await new Promise<void>((resolve) => this.#wake.push(resolve));
      }
      await this.result;
    } finally {
      this.#cancel();
    }
  }

  #push(text: string): void {
    this.#pieces.push(text);
    this.#wakeAll();
  }

  #end(): void {
    this.#ended = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

/** A request that is on its way. */
export interface Begun<Result> {
  readonly answer: Promise<Result>;
  /** Harmless when it has ended. */
  readonly cancel: (reason?: unknown) => void;
}
