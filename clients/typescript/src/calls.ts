/**
 * The sans-I/O core: open calls, and what a line means for them. The client passes lines in and takes lines out. Every end
 * of a call goes through `settle`, so a call ends once.
 */
import { SidecarError } from "./errors.js";
import type { ErrorLine } from "./protocol.js";

export interface Call {
  readonly id: number;
  /** The request as it goes out, with its LF. */
  readonly line: string;
  /** Goes out before all others and without a limit: the worker answers it at once. */
  readonly urgent: boolean;
  readonly onProgress: (line: ProgressLine) => void;
  readonly onEnd: (outcome: Outcome) => void;
}

export type Outcome = { readonly line: ResponseLine } | { readonly error: unknown };

export interface ProgressLine {
  readonly type: "progress";
  readonly delta?: string;
}

export interface ResponseLine {
  readonly type: "response";
}

type Line = { readonly id?: unknown } & (ProgressLine | ResponseLine | ErrorLine);

export class Calls {
  readonly #maxSent: number;
  readonly #open = new Map<number, Call>();
  readonly #urgent = new Map<number, Call>();
  readonly #waiting = new Map<number, Call>();
  /** Ids that the worker hasn't ended, also of calls that were given up; urgent ones apart. */
  readonly #sent = new Set<number>();
  readonly #sentUrgent = new Set<number>();
  #lastId = 0;

  constructor(maxSent: number) {
    this.#maxSent = maxSent;
  }

  /** Calls that haven't ended. */
  get size(): number {
    return this.#open.size;
  }

  nextId(): number {
    return ++this.#lastId;
  }

  add(call: Call): void {
    this.#open.set(call.id, call);
    (call.urgent ? this.#urgent : this.#waiting).set(call.id, call);
  }

  isOpen(id: number): boolean {
    return this.#open.has(id);
  }

  isSent(id: number): boolean {
    return this.#sent.has(id) || this.#sentUrgent.has(id);
  }

  /** The next call to be written, which counts as written; undefined if there is none or no room. */
  take(): Call | undefined {
    const call = first(this.#urgent) ?? (this.#sent.size < this.#maxSent ? first(this.#waiting) : undefined);
    if (!call) return undefined;
    this.#leaveQueue(call.id);
    (call.urgent ? this.#sentUrgent : this.#sent).add(call.id);
    return call;
  }

  /** Takes in one line of the worker; says whether it was one. */
  receive(text: string): boolean {
    const line = parse(text);
    if (!line) return false;
    if (typeof line.id !== "number") return this.#receiveWithoutId(line);
    if (line.type === "progress") {
      this.#open.get(line.id)?.onProgress(line);
      return true;
    }
    this.#sent.delete(line.id);
    this.#sentUrgent.delete(line.id);
    this.settle(line.id, line.type === "response" ? { line } : { error: SidecarError.fromLine(line) });
    return true;
  }

  /** Ends one call. What the worker still says about it is ignored. */
  settle(id: number, outcome: Outcome): void {
    const call = this.#open.get(id);
    this.#open.delete(id);
    this.#leaveQueue(id);
    call?.onEnd(outcome);
  }

  /** Ends the calls that weren't written yet. */
  failWaiting(error: unknown): void {
    for (const id of [...this.#open.keys()]) if (!this.isSent(id)) this.settle(id, { error });
  }

  /** Ends all calls: the process ended. */
  failAll(error: unknown): void {
    this.#sent.clear();
    this.#sentUrgent.clear();
    for (const id of [...this.#open.keys()]) this.settle(id, { error });
  }

  #leaveQueue(id: number): void {
    this.#urgent.delete(id);
    this.#waiting.delete(id);
  }

  /** The worker couldn't read the id of a line: all calls fail, since the one concerned would never end. */
  #receiveWithoutId(line: Line): boolean {
    if (line.type !== "error") return false;
    for (const id of [...this.#sent, ...this.#sentUrgent]) this.settle(id, { error: SidecarError.fromLine(line) });
    return true;
  }
}

function first(calls: Map<number, Call>): Call | undefined {
  return calls.values().next().value;
}

function parse(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as Line | null;
    return line?.type === "progress" || line?.type === "response" || line?.type === "error" ? line : undefined;
  } catch {
    return undefined;
  }
}
