/** A text while it is written: iterate over its pieces, or wait for `result`, or both. */
export class TextStream<Result> implements AsyncIterable<string> {
  /** The response, when the text is complete. Rejects as a call does. */
  readonly result: Promise<Result>;
  readonly #cancel: (reason?: unknown) => void;
  readonly #pieces: string[] = [];
  #ended = false;
  #wake: Array<() => void> = [];

  /** `begin` starts the request: it hands pieces to its argument, and says how to end it early. */
  constructor(begin: (onDelta: (text: string) => void) => PendingCall<Result>) {
    const { answer, cancel } = begin((text) => this.#push(text));
    this.#cancel = cancel;
    this.result = answer.finally(() => this.#end());
    // An app that only iterates sees the error there; this promise must not count as an unhandled rejection.
    this.result.catch(() => {});
  }

  /** Ends the request; the pieces that came can still be read. */
  cancel(reason?: unknown): void {
    this.#cancel(reason);
  }

  /** The pieces in order; together they are exactly the text. Leaving the loop early cancels the request. */
  [Symbol.asyncIterator](): AsyncIterableIterator<string, undefined> {
    return new Pieces(() => this.#next(), this.result, this.#cancel);
  }

  /** The next piece; undefined where there is none to come. */
  async #next(): Promise<string | undefined> {
    while (!this.#pieces.length && !this.#ended) await new Promise<void>((resolve) => this.#wake.push(resolve));
    return this.#pieces.shift();
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

type Step = IteratorResult<string, undefined>;

const OVER: Step = { done: true, value: undefined };

/** One loop over the pieces. Not a generator: `return` does nothing to one that never ran. */
class Pieces implements AsyncIterableIterator<string, undefined> {
  readonly #next: () => Promise<string | undefined>;
  readonly #result: Promise<unknown>;
  readonly #cancel: () => void;
  /** Settles after the piece that was asked for last: pieces are handed out in order. */
  #last: Promise<unknown> = Promise.resolve();
  #over = false;

  constructor(next: () => Promise<string | undefined>, result: Promise<unknown>, cancel: () => void) {
    this.#next = next;
    this.#result = result;
    this.#cancel = cancel;
  }

  next(): Promise<Step> {
    const take = (): Promise<Step> => this.#take();
    const taken = this.#last.then(take, take);
    this.#last = taken;
    return taken;
  }

  return(): Promise<Step> {
    this.#over = true;
    this.#cancel();
    return Promise.resolve(OVER);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #take(): Promise<Step> {
    const piece = this.#over ? undefined : await this.#next();
    if (this.#over) return OVER;
    if (piece !== undefined) return { done: false, value: piece };
    this.#over = true;
    await this.#result;
    return OVER;
  }
}

/** A request that was sent. */
export interface PendingCall<Result> {
  readonly answer: Promise<Result>;
  /** Harmless when it has ended. */
  readonly cancel: (reason?: unknown) => void;
}
