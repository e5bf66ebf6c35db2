/** A worker of one's own words: what the client writes is kept, what the worker says is said by the test. */
import type { Connection, Ending, Listener, Transport } from "../src/index.js";

export class Scripted implements Transport {
  /** One for each start. */
  readonly workers: ScriptedWorker[] = [];

  start(listener: Listener): Connection {
    const worker = new ScriptedWorker(listener);
    this.workers.push(worker);
    return worker;
  }

  get worker(): ScriptedWorker {
    return this.workers.at(-1)!;
  }
}

export class ScriptedWorker implements Connection {
  readonly listener: Listener;
  /** The requests that were written, and the steps by which the client ends a worker. */
  readonly requests: Array<{ command: string; id: number; [field: string]: unknown }> = [];
  readonly steps: string[] = [];
  /** What these steps do; a test that wants a stubborn worker leaves them out. */
  obeys: { shutdown?: boolean; eof?: boolean; term?: boolean; kill?: boolean } = {};
  #ended = false;

  constructor(listener: Listener) {
    this.listener = listener;
  }

  write(line: string): Promise<void> {
    const request = JSON.parse(line);
    this.requests.push(request);
    if (request.command === "shutdown") this.#step("shutdown");
    return Promise.resolve();
  }

  /** The id of the last request with this command. */
  id(command: string): number {
    const request = this.requests.filter((each) => each.command === command).at(-1);
    if (!request) throw new Error(`no ${command} was written`);
    return request.id;
  }

  say(line: object): void {
    this.bytes(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
  }

  bytes(chunk: Uint8Array): void {
    this.listener.data(chunk);
  }

  answer(command: string, fields: object = {}): void {
    this.say({ type: "response", command, id: this.id(command), ...fields });
  }

  end(ending: Partial<Ending> = {}): void {
    if (this.#ended) return;
    this.#ended = true;
    this.listener.end({ exitCode: 0, signal: null, stderr: "", ...ending });
  }

  endInput(): boolean {
    return this.#step("eof");
  }

  terminate(): boolean {
    return this.#step("term");
  }

  kill(): void {
    this.#step("kill");
  }

  #step(step: "shutdown" | "eof" | "term" | "kill"): boolean {
    this.steps.push(step);
    if (this.obeys[step]) queueMicrotask(() => this.end());
    return true;
  }
}

/** Lets everything that is due by now happen. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
