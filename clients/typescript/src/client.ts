/// <reference lib="esnext.disposable" preserve="true" />
import { Aborts } from "./aborts.js";
import { invokeUserCallback } from "./callbacks.js";
import { type Call, Calls, type Outcome, type ProgressLine } from "./calls.js";
import { SidecarError } from "./errors.js";
import { DEFAULT_LIMITS, type DownloadMeasure, type Measure, NEED_MODEL, type Requests, type Responses } from "./protocol.js";
import { checkOptions, checkTimeout, graceWithin, isLimit, LONGEST_TIMER_MS } from "./limits.js";
import { lineOf } from "./request_line.js";
import { type PendingCall, TextStream } from "./stream.js";
import { Supervisor } from "./supervisor.js";
import type { Transport } from "./transport.js";

/** All commands but two: `shutdown` is `close()`, `cancel` is an AbortSignal or `cancelAll()`. */
export type Command = Exclude<keyof Requests, "shutdown" | "cancel">;

/** The fields of a request that are the caller's. The others the client sets itself. */
export type Params<C extends Command> = Omit<Requests[C], "command" | "id" | "timeout_s" | "stream" | "progress">;

export interface CallOptions<C extends Command> {
  /** Ends the request; the call rejects at once, with code `cancelled` and the signal's reason as its cause. */
  readonly signal?: AbortSignal;
  /**
   * Milliseconds, more than 0, waiting included; without it, or with Infinity, there is no limit. The call rejects with
   * code `timeout`, and what was written is in `data.text`.
   */
  readonly timeoutMs?: number;
  /** At most ten times a second: percent, parts of a long document, all about a download. */
  readonly onProgress?: (measure: C extends "download-model" ? DownloadMeasure : Measure) => void;
}

export interface SidecarOptions {
  /** How often in a row a worker that ended is followed by another (3). */
  readonly restarts?: number;
  /** Waits before these (0.25, 1 and 4 seconds). */
  readonly backoffMs?: readonly number[];
  /** A worker that lived so long resets the count (30 seconds). */
  readonly healthyMs?: number;
  // Fewer than --max-queue: a parent that writes on its main thread (Tauri's plugin) isn't kept waiting either.
  /** Requests in the worker at once (256); more wait in the client, so that a cancel is never behind a full queue. */
  readonly maxInFlight?: number;
  /** The worker's `--max-line-bytes` (16 MiB). */
  readonly maxLineBytes?: number;
  /** A worker ended that wasn't asked to. Its calls have failed; the next call starts another. */
  readonly onWorkerEnded?: (error: SidecarError) => void;
  /** The model couldn't be loaded again after a restart. Calls that need it fail with this until `loadModel` works. */
  readonly onReloadFailed?: (error: SidecarError) => void;
  /** A line on stdout that isn't the protocol's. */
  readonly onNoise?: (line: string) => void;
}

/** How much longer than a call's own time the client waits for the worker's last line. */
const LATE_MS = 1000;

/**
 * The client. The worker starts with the first call, or with `start()`; when it ends, every open call rejects, and the
 * next call starts another, in which the model that `loadModel` loaded is loaded again.
 */
export class Sidecar {
  readonly #options: SidecarOptions;
  readonly #calls: Calls;
  readonly #supervisor: Supervisor;
  readonly #aborts = new Aborts();
  #model: Params<"load-model"> | undefined;
  #reloadFailed: SidecarError | undefined;
  #writing = false;
  #closing: Promise<void> | undefined;

  constructor(transport: Transport, options: SidecarOptions = {}) {
    checkOptions(options);
    this.#options = options;
    this.#calls = new Calls(options.maxInFlight ?? 256);
    const { restarts = 3, backoffMs = [250, 1000, 4000], healthyMs = 30_000 } = options;
    this.#supervisor = new Supervisor(transport, { restarts, backoffMs, healthyMs }, {
      started: () => this.#started(),
      line: (text) => this.#receive(text),
      ended: (error) => this.#ended(error),
      gaveUp: (error) => this.#calls.failAll(error),
    });
  }

  /** Starts the worker now rather than with the first call, also where restarting was given up. */
  start(): void {
    this.#supervisor.startNow();
  }

  /** One request of any kind. Rejects with a SidecarError. */
  call<C extends Command>(command: C, params: Params<C>, options: CallOptions<C> = {}): Promise<Responses[C]> {
    return this.#begin(command, params, options).answer;
  }

  // written by scripts/protocol.mjs: begin
  /** Whether models can run here, and with what. Never an error. */
  checkAvailability(options: CallOptions<"check-availability"> = {}): Promise<Responses["check-availability"]> {
    return this.call("check-availability", {}, options);
  }

  /** Load a model, replacing the one that is loaded. */
  loadModel(params: Params<"load-model">, options: CallOptions<"load-model"> = {}): Promise<Responses["load-model"]> {
    return this.call("load-model", params, options);
  }

  /** Tags for a document. */
  generateTags(params: Params<"generate-tags">, options: CallOptions<"generate-tags"> = {}): Promise<Responses["generate-tags"]> {
    return this.call("generate-tags", params, options);
  }

  /** A summary of a document. */
  summarize(params: Params<"summarize">, options: CallOptions<"summarize"> = {}): Promise<Responses["summarize"]> {
    return this.call("summarize", params, options);
  }

  /** A summary of a document. As it is written. */
  summarizeStream(params: Params<"summarize">, options: CallOptions<"summarize"> = {}): TextStream<Responses["summarize"]> {
    return new TextStream((onDelta) => this.#begin("summarize", params, options, onDelta));
  }

  /** Which of these labels fits a document, with probabilities. */
  classify(params: Params<"classify">, options: CallOptions<"classify"> = {}): Promise<Responses["classify"]> {
    return this.call("classify", params, options);
  }

  /** Fetch a model from the Hugging Face Hub. */
  downloadModel(params: Params<"download-model">, options: CallOptions<"download-model"> = {}): Promise<Responses["download-model"]> {
    return this.call("download-model", params, options);
  }

  /** What is loaded. */
  modelInfo(options: CallOptions<"model-info"> = {}): Promise<Responses["model-info"]> {
    return this.call("model-info", {}, options);
  }

  /** Free generation, or generation held to a JSON Schema or to a list of choices. */
  generate(params: Params<"generate">, options: CallOptions<"generate"> = {}): Promise<Responses["generate"]> {
    return this.call("generate", params, options);
  }

  /** Free generation, or generation held to a JSON Schema or to a list of choices. As it is written. */
  generateStream(params: Params<"generate">, options: CallOptions<"generate"> = {}): TextStream<Responses["generate"]> {
    return new TextStream((onDelta) => this.#begin("generate", params, options, onDelta));
  }

  /** How many tokens a text has, or a conversation as the model's chat template renders it. */
  countTokens(params: Params<"count-tokens">, options: CallOptions<"count-tokens"> = {}): Promise<Responses["count-tokens"]> {
    return this.call("count-tokens", params, options);
  }

  /** What the worker is doing. */
  status(options: CallOptions<"status"> = {}): Promise<Responses["status"]> {
    return this.call("status", {}, options);
  }

  /** Let the loaded model go. */
  unloadModel(options: CallOptions<"unload-model"> = {}): Promise<Responses["unload-model"]> {
    return this.call("unload-model", {}, options);
  }

  /** The models on this machine. */
  listModels(params: Params<"list-models"> = {}, options: CallOptions<"list-models"> = {}): Promise<Responses["list-models"]> {
    return this.call("list-models", params, options);
  }

  /** Whether a model fits, from its headers: one on this machine, or one of the hub's that isn't fetched yet. */
  estimate(params: Params<"estimate">, options: CallOptions<"estimate"> = {}): Promise<Responses["estimate"]> {
    return this.call("estimate", params, options);
  }

  // written by scripts/protocol.mjs: end

  /** Ends every open call; each rejects with code `cancelled`. */
  cancelAll(): void {
    this.#calls.failWaiting(SidecarError.cancelled(undefined));
    if (this.#calls.size) this.#sendInternal({ command: "cancel" });
    this.#updateRef();
  }

  /**
   * Lets the requests that the worker has finish for `graceMs`, and ends it: by `shutdown`, then EOF, then SIGTERM, then
   * SIGKILL, each only if the one before didn't do. Never rejects; further calls reject with code `client_closed`.
   */
  close({ graceMs = 5000 }: { graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(graceWithin(graceMs));
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #begin<C extends Command>(
    command: C,
    params: Params<C>,
    { signal, timeoutMs, onProgress }: CallOptions<C>,
    onDelta?: (text: string) => void,
  ): PendingCall<Responses[C]> {
    const id = this.#calls.nextId();
    const cancel = (reason?: unknown): void => this.#giveUp(id, SidecarError.cancelled(reason));
    const answer = new Promise<Responses[C]>((resolve, reject) => {
      if (this.#closing) throw closed();
      if (signal?.aborted) throw SidecarError.cancelled(signal.reason);
      const mode = onDelta ? { stream: true } : command === "load-model" && onProgress ? { progress: true } : {};
      checkTimeout(timeoutMs);
      const timeout = isLimit(timeoutMs) ? { timeout_s: timeoutMs / 1000 } : {};
      const given = { ...params };
      const line = this.#lineOf({ ...given, ...mode, ...timeout, command, id });
      const unwatch = signal && this.#aborts.watch(signal, () => cancel(signal.reason));
      const stopClock = isLimit(timeoutMs) ? this.#setClock(id, timeoutMs) : () => {};
      this.#open({
        id,
        line,
        urgent: command === "status",
        onProgress: (progress) => {
          if (!this.#lacksModel(command)) this.#runCallback(id, () => report(progress, onProgress, onDelta));
        },
        onEnd: (outcome) => {
          stopClock();
          unwatch?.();
          if ("error" in outcome) return reject(this.#withReloadReason(outcome.error));
          if (this.#lacksModel(command)) return reject(this.#reloadFailed);
          this.#rememberModel(command, given);
          resolve(outcome.line as Responses[C]);
        },
      });
    });
    return { answer, cancel };
  }

  /** Sends a request of the client's own. */
  #sendInternal(
    request: { command: "cancel" | "shutdown" | "load-model"; [field: string]: unknown },
    onEnd: (outcome: Outcome) => void = () => {},
  ): void {
    const id = this.#calls.nextId();
    const line = this.#lineOf({ ...request, id });
    this.#open({ id, line, urgent: true, onProgress: () => {}, onEnd });
  }

  #open(call: Call): void {
    this.#calls.add(call);
    this.#supervisor.want();
    void this.#write();
  }

  /** Ends a call, and cancels it in the worker. */
  #giveUp(id: number, error: unknown): void {
    if (!this.#calls.isOpen(id)) return;
    const sent = this.#calls.isSent(id);
    this.#calls.settle(id, { error });
    if (sent) this.#sendInternal({ command: "cancel", target: id });
    this.#updateRef();
  }

  /** The worker times the requests that it has; the client those that wait, and a worker that doesn't answer. */
  #setClock(id: number, timeoutMs: number): () => void {
    if (timeoutMs > LONGEST_TIMER_MS) return () => {};
    const giveUp = (): void => this.#giveUp(id, new SidecarError(`no answer within ${timeoutMs} ms`, "timeout", true));
    let timer = setTimeout(() => {
      if (!this.#calls.isSent(id)) return giveUp();
      timer = setTimeout(giveUp, LATE_MS);
    }, timeoutMs);
    return () => clearTimeout(timer);
  }

  /** Runs a call's callback; what it throws ends this call and no other. */
  #runCallback(id: number, callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#giveUp(id, error);
    }
  }

  #lineOf(request: object): string {
    return lineOf(request, this.#options.maxLineBytes ?? DEFAULT_LIMITS.max_line_bytes);
  }

  /** Writes the requests that may be written, line by line; runs once at a time. */
  async #write(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    for (let connection; (connection = this.#supervisor.connection); ) {
      const call = this.#calls.take();
      if (!call) break;
      await connection.write(call.line);
    }
    this.#writing = false;
    this.#updateRef();
  }

  #receive(text: string): void {
    if (!this.#calls.receive(text) && text.trim()) invokeUserCallback(() => this.#options.onNoise?.(text));
    void this.#write();
  }

  #started(): void {
    this.#reloadFailed = undefined;
    if (this.#model) this.#sendInternal({ ...this.#model, command: "load-model" }, (outcome) => this.#reloaded(outcome));
    void this.#write();
  }

  #reloaded(outcome: Outcome): void {
    const error = "error" in outcome ? (outcome.error as SidecarError) : undefined;
    // `ended` reports the end of the process.
    if (!error || error.code === "worker_ended" || error.code === "client_closed") return;
    this.#reloadFailed = error;
    invokeUserCallback(() => this.#options.onReloadFailed?.(error));
  }

  /** After a failed reload, the reload's error instead of `model_not_loaded`. */
  #withReloadReason(error: unknown): unknown {
    return (error instanceof SidecarError && error.code === "model_not_loaded" && this.#reloadFailed) || error;
  }

  /** Whether the worker may answer with the model of `--model` instead of the one that failed to reload. */
  #lacksModel(command: Command): boolean {
    return this.#reloadFailed !== undefined && NEED_MODEL.has(command);
  }

  #ended(error: SidecarError): void {
    this.#calls.failAll(this.#closing ? closed() : error);
    if (!this.#closing) invokeUserCallback(() => this.#options.onWorkerEnded?.(error));
  }

  /** Remembers the model that the next worker must load. */
  #rememberModel<C extends Command>(command: C, params: Params<C>): void {
    if (command === "load-model" || command === "unload-model") this.#reloadFailed = undefined;
    if (command === "load-model") this.#model = params;
    if (command === "unload-model") this.#model = undefined;
  }

  /** Without open calls the worker doesn't keep the app alive, and no other is started. */
  #updateRef(): void {
    if (this.#calls.size === 0) this.#supervisor.wantNoMore();
    this.#supervisor.connection?.setRef?.(this.#calls.size > 0);
  }

  async #close(graceMs: number): Promise<void> {
    this.#calls.failWaiting(closed());
    if (this.#supervisor.connection) this.#sendInternal({ command: "shutdown", grace_s: graceMs / 1000 });
    // The worker still answers what it cancels at the end of the grace period.
    await this.#supervisor.stop(graceMs + LATE_MS);
    this.#calls.failAll(closed());
  }
}

function report<M>(line: ProgressLine, onProgress?: (measure: M) => void, onDelta?: (text: string) => void): void {
  if (line.delta === undefined) onProgress?.(line as M);
  else onDelta?.(line.delta);
}

function closed(): SidecarError {
  return new SidecarError("the client was closed", "client_closed", false);
}
