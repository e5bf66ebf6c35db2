/** Bytes to lines. A line ends at the byte 0x0A and nowhere else: not at a CR, not at U+2028, wherever chunks are cut. */

const LF = 0x0a;
const FIRST_BYTES = 1 << 16;

/** What is longer than this without an end isn't the protocol. */
export const MAX_ANSWER_BYTES: number = 1 << 28;

export class LineTooLong extends Error {
  override name = "LineTooLong";
}

export class Lines {
  readonly #decoder = new TextDecoder();
  readonly #maxBytes: number;
  // Grows by doubling, so that a long line in chunks of one byte costs no more than in one piece.
  #rest = new Uint8Array(FIRST_BYTES);
  #length = 0;

  constructor(maxBytes: number = MAX_ANSWER_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Yields the lines that this chunk completes; raises LineTooLong. */
  *push(chunk: Uint8Array): Generator<string> {
    let begin = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, begin)) {
      const piece = chunk.subarray(begin, end);
      begin = end + 1;
      yield this.#length ? this.#complete(piece) : this.#decoder.decode(piece);
    }
    this.#keep(chunk.subarray(begin));
  }

  /** The last line, if it came without its end. */
  last(): string {
    return this.#complete(new Uint8Array());
  }

  #complete(piece: Uint8Array): string {
    this.#keep(piece);
    const line = this.#decoder.decode(this.#rest.subarray(0, this.#length));
    this.#length = 0;
    if (this.#rest.length > FIRST_BYTES) this.#rest = new Uint8Array(FIRST_BYTES);
    return line;
  }

  #keep(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#maxBytes) throw new LineTooLong(`a line of more than ${this.#maxBytes} bytes`);
    if (length > this.#rest.length) {
      const wider = new Uint8Array(Math.max(length, 2 * this.#rest.length));
      wider.set(this.#rest.subarray(0, this.#length));
      this.#rest = wider;
    }
    this.#rest.set(piece, this.#length);
    this.#length = length;
  }
}
