import assert from "node:assert";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Sidecar, SidecarError, type SidecarOptions } from "../src/index.js";
import { Scripted, settled } from "./scripted.js";

let transport: Scripted;
const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown): void => void unhandled.push(reason);

beforeEach(() => {
  transport = new Scripted();
  process.on("unhandledRejection", onUnhandled);
});

afterEach(async () => {
  vi.useRealTimers();
  await settled();
  process.off("unhandledRejection", onUnhandled);
  expect(unhandled.splice(0)).toEqual([]);
});

function client(options: SidecarOptions = {}): Sidecar {
  return new Sidecar(transport, options);
}

/** The code that a call fails with. */
const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "worked",
    (error: SidecarError) => error.code,
  );

/** What would have ended the app, by the time that everything due has happened. */
async function uncaughtErrors(): Promise<unknown[]> {
  const others = process.listeners("uncaughtException");
  const seen: unknown[] = [];
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => seen.push(error));
  await settled();
  await settled();
  process.removeAllListeners("uncaughtException");
  for (const other of others) process.on("uncaughtException", other);
  return seen;
}

const TAGS = { content: "a text" };

/** Objects in objects, so many. */
function nested(levels: number): { [name: string]: unknown } {
  let value = {};
  for (let level = 1; level < levels; level++) value = { a: value };
  return value;
}

test("a call is written once, with an id, and ends with its response", async () => {
  const sidecar = client();
  const call = sidecar.generateTags({ content: "a text", max_tags: 3 });
  expect(transport.worker.requests).toEqual([{ content: "a text", max_tags: 3, command: "generate-tags", id: 1 }]);
  transport.worker.answer("generate-tags", { tags: ["a"] });
  expect((await call).tags).toEqual(["a"]);
});

test("answers find their calls in whatever order they come", async () => {
  const sidecar = client();
  const calls = [1, 2, 3].map((n) => sidecar.generateTags({ content: `text ${n}` }));
  for (const id of [3, 1, 2]) transport.worker.say({ type: "response", command: "generate-tags", id, tags: [`${id}`] });
  expect((await Promise.all(calls)).map(({ tags }) => tags[0])).toEqual(["1", "2", "3"]);
});

test("an error line rejects its call with code, retryable and data", async () => {
  const call = client().generateTags(TAGS);
  const line = { error: "it is too long", code: "context_too_long", retryable: false, data: { tokens: 9 } };
  transport.worker.say({ type: "error", command: "generate-tags", id: 1, ...line });
  const error = await call.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(SidecarError);
  expect(error).toMatchObject({ message: "it is too long", code: "context_too_long", retryable: false, data: { tokens: 9 } });
});

test("a stream gives its pieces in order, also in chunks of one byte and with U+2028 in them, then its result", async () => {
  const stream = client().summarizeStream(TAGS);
  expect(transport.worker.requests[0]).toMatchObject({ command: "summarize", stream: true });
  const pieces = ["Ein\u2028e ", "Zeile", "\n𝄞\r"];
  const lines = [
    ...pieces.map((delta) => ({ type: "progress", command: "summarize", id: 1, delta })),
    { type: "response", command: "summarize", id: 1, summary: pieces.join("") },
  ];
  const bytes = new TextEncoder().encode(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  for (let at = 0; at < bytes.length; at++) transport.worker.bytes(bytes.subarray(at, at + 1));
  const seen = [];
  for await (const piece of stream) seen.push(piece);
  expect(seen).toEqual(pieces);
  expect((await stream.result).summary).toBe("Ein\u2028e Zeile\n𝄞\r");
});

test("a stream that fails throws in the loop, after the pieces that came", async () => {
  const stream = client().generateStream({ prompt: "x" });
  const seen: string[] = [];
  const loop = (async () => {
    for await (const piece of stream) seen.push(piece);
  })();
  transport.worker.say({ type: "progress", command: "generate", id: 1, delta: "half" });
  transport.worker.end({ exitCode: 1 });
  expect(await codeOf(loop)).toBe("worker_ended");
  expect(seen).toEqual(["half"]);
});

test("leaving the loop cancels the request", async () => {
  const stream = client().generateStream({ prompt: "x" });
  transport.worker.say({ type: "progress", command: "generate", id: 1, delta: "enough" });
  for await (const _ of stream) break;
  expect(transport.worker.requests.at(-1)).toMatchObject({ command: "cancel", target: 1 });
  expect(await codeOf(stream.result)).toBe("cancelled");
});

test("leaving it before the first piece was asked for cancels the request, and while one is waited for ends the wait", async () => {
  const sidecar = client();
  const [early, waiting] = [sidecar.generateStream({ prompt: "x" }), sidecar.generateStream({ prompt: "y" })];
  await settled();
  await early[Symbol.asyncIterator]().return!();
  expect(await codeOf(early.result)).toBe("cancelled");
  const pieces = waiting[Symbol.asyncIterator]();
  const asked = [pieces.next(), pieces.next()];
  await settled();
  await pieces.return!();
  expect(await Promise.all(asked)).toEqual(Array(2).fill({ done: true, value: undefined }));
  await settled();
  expect(transport.worker.requests.map(({ target }) => target)).toEqual([undefined, undefined, 1, 2]);
});

test("pieces that are asked for before they come are given in order, then the failure, once", async () => {
  const stream = client().generateStream({ prompt: "x" });
  const pieces = stream[Symbol.asyncIterator]();
  const asked = [1, 2, 3, 4].map(() => pieces.next().catch((error: SidecarError) => error.code));
  for (const delta of ["a", "b"]) transport.worker.say({ type: "progress", command: "generate", id: 1, delta });
  transport.worker.end({ exitCode: 1 });
  expect(await Promise.all(asked)).toEqual([
    { done: false, value: "a" },
    { done: false, value: "b" },
    "worker_ended",
    { done: true, value: undefined },
  ]);
});

test("a stream that is left and forgotten leaves no rejection behind", async () => {
  const stream = client().generateStream({ prompt: "x" });
  transport.worker.say({ type: "progress", command: "generate", id: 1, delta: "enough" });
  for await (const _ of stream) break;
  client().generateStream({ prompt: "y" }).cancel();
});

test("progress goes to the caller's function; what that throws ends the call and no other", async () => {
  const sidecar = client();
  const seen: number[] = [];
  const good = sidecar.downloadModel({ repo_id: "a/b" }, { onProgress: ({ downloaded_bytes }) => seen.push(downloaded_bytes) });
  const bad = sidecar.downloadModel({ repo_id: "a/c" }, { onProgress: () => { throw new RangeError("mine"); } });
  await settled();
  for (const id of [2, 1]) transport.worker.say({ type: "progress", command: "download-model", id, progress: 5, downloaded_bytes: 7 });
  await expect(bad).rejects.toThrow(RangeError);
  transport.worker.say({ type: "response", command: "download-model", id: 1, success: true });
  expect((await good).success).toBe(true);
  expect(seen).toEqual([7]);
  expect(transport.worker.requests.at(-1)).toMatchObject({ command: "cancel", target: 2 });
});

test("load-model asks for progress exactly when somebody listens", async () => {
  const sidecar = client();
  void sidecar.loadModel({ model_path: "demo" });
  void sidecar.loadModel({ model_path: "demo" }, { onProgress: () => {} });
  await settled();
  expect(transport.worker.requests.map(({ progress }) => progress)).toEqual([undefined, true]);
});

// --- cancelling -----------------------------------------------------------------------------------------------------

test("a signal that is aborted beforehand: nothing is sent, no worker is started", async () => {
  const call = client().generateTags(TAGS, { signal: AbortSignal.abort("no") });
  await expect(call).rejects.toMatchObject({ code: "cancelled", cause: "no" });
  expect(transport.workers).toEqual([]);
});

test("aborted while it waits in the client: nothing is sent", async () => {
  const sidecar = client({ maxInFlight: 1 });
  const abort = new AbortController();
  void sidecar.generateTags(TAGS);
  const call = sidecar.generateTags(TAGS, { signal: abort.signal });
  abort.abort();
  expect(await codeOf(call)).toBe("cancelled");
  expect(transport.worker.requests.length).toBe(1);
});

test("aborted in the worker: it rejects at once, the worker is told, and its late lines change nothing", async () => {
  const sidecar = client({ maxInFlight: 1 });
  const abort = new AbortController();
  const deltas: string[] = [];
  const stream = sidecar.generateStream({ prompt: "x" }, { signal: abort.signal });
  transport.worker.say({ type: "progress", command: "generate", id: 1, delta: "a" });
  abort.abort();
  expect(await codeOf(stream.result)).toBe("cancelled");
  const next = sidecar.generateTags(TAGS);
  await settled();
  // The place of the cancelled one is free only when the worker has ended it; the cancel itself needs none.
  expect(transport.worker.requests.map(({ command }) => command)).toEqual(["generate", "cancel"]);
  transport.worker.say({ type: "progress", command: "generate", id: 1, delta: "late" });
  transport.worker.say({ type: "response", command: "generate", id: 1, text: "late" });
  await settled();
  transport.worker.answer("generate-tags", { tags: [] });
  expect((await next).tags).toEqual([]);
  expect(await codeOf((async () => { for await (const piece of stream) deltas.push(piece); })())).toBe("cancelled");
  expect(deltas).toEqual(["a"]);
});

test("aborted after the end: nothing happens", async () => {
  const abort = new AbortController();
  const call = client().generateTags(TAGS, { signal: abort.signal });
  transport.worker.answer("generate-tags", { tags: ["a"] });
  expect((await call).tags).toEqual(["a"]);
  abort.abort();
  await settled();
  expect(transport.worker.requests.length).toBe(1);
});

test("a signal that serves many calls is left without a listener of theirs", async () => {
  const sidecar = client();
  const { signal } = new AbortController();
  const [add, remove] = [vi.spyOn(signal, "addEventListener"), vi.spyOn(signal, "removeEventListener")];
  for (let n = 0; n < 50; n++) {
    const call = sidecar.generateTags(TAGS, { signal });
    await settled();
    transport.worker.answer("generate-tags");
    await call;
  }
  expect(add.mock.calls.length).toBe(50);
  expect(remove.mock.calls.map(([, listener]) => listener)).toEqual(add.mock.calls.map(([, listener]) => listener));
});

test("a signal that many calls have at once has one listener, and ends them all", async () => {
  const sidecar = client();
  const abort = new AbortController();
  const add = vi.spyOn(abort.signal, "addEventListener");
  const calls = Array.from({ length: 100 }, () => codeOf(sidecar.generateTags(TAGS, { signal: abort.signal })));
  abort.abort();
  expect(new Set(await Promise.all(calls))).toEqual(new Set(["cancelled"]));
  expect(add.mock.calls.length).toBe(1);
});

test("cancelAll ends what waits here and asks the worker to end the rest", async () => {
  const sidecar = client({ maxInFlight: 1 });
  const [sent, waiting] = [sidecar.generateTags(TAGS), sidecar.generateTags(TAGS)];
  sidecar.cancelAll();
  expect(await codeOf(waiting)).toBe("cancelled");
  expect(transport.worker.requests.at(-1)).not.toHaveProperty("target");
  transport.worker.say({ type: "error", command: "generate-tags", id: 1, error: "cancelled", code: "cancelled", retryable: true });
  expect(await codeOf(sent)).toBe("cancelled");
});

test("a timeout is the worker's to keep; one that doesn't answer is given a second", async () => {
  vi.useFakeTimers();
  const sidecar = client();
  const call = codeOf(sidecar.generateTags(TAGS, { timeoutMs: 2000 }));
  expect(transport.worker.requests[0]).toMatchObject({ timeout_s: 2 });
  await vi.advanceTimersByTimeAsync(2900);
  expect(transport.worker.requests.length).toBe(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(await call).toBe("timeout");
  expect(transport.worker.requests.at(-1)).toMatchObject({ command: "cancel", target: 1 });
});

test("a call that ends in time leaves no timer behind", async () => {
  vi.useFakeTimers();
  const call = client().generateTags(TAGS, { timeoutMs: 2000 });
  transport.worker.answer("generate-tags", { tags: [] });
  await call;
  expect(vi.getTimerCount()).toBe(0);
});

test("a timeout counts while a call waits in the client", async () => {
  vi.useFakeTimers();
  const sidecar = client({ maxInFlight: 1 });
  void sidecar.generateTags(TAGS);
  const call = codeOf(sidecar.generateTags(TAGS, { timeoutMs: 2000 }));
  await vi.advanceTimersByTimeAsync(2000);
  expect(await call).toBe("timeout");
  expect(transport.worker.requests.length).toBe(1);
});

// --- what may come from a worker, or go to it -----------------------------------------------------------------------

test("lines that aren't the protocol's are reported and change nothing", async () => {
  const noise: string[] = [];
  const call = client({ onNoise: (line) => noise.push(line) }).generateTags(TAGS);
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  transport.worker.bytes(encode('Warning: hello\n\n[1,2]\nnull\n{"type":"response"\n{"type":"other","id":1}\n"response"\n'));
  transport.worker.bytes(Uint8Array.of(0xff, 0xfe, 0x0a));
  transport.worker.say({ type: "response", command: "generate-tags", id: 99 });
  transport.worker.say({ type: "response", command: "generate-tags", id: "1" });
  transport.worker.answer("generate-tags", { tags: ["a"] });
  expect((await call).tags).toEqual(["a"]);
  expect(noise.length).toBe(8);
});

test("what onNoise throws is the app's to see, and loses no answer of the same chunk", async () => {
  const uncaught = uncaughtErrors();
  const call = client({ onNoise: (line) => { throw new RangeError(line); } }).generateTags(TAGS);
  const answer = JSON.stringify({ type: "response", command: "generate-tags", id: 1, tags: ["a"] });
  transport.worker.bytes(new TextEncoder().encode(`noise\n${answer}\n`));
  expect((await call).tags).toEqual(["a"]);
  expect(await uncaught).toEqual([new RangeError("noise")]);
});

test("what onWorkerEnded throws is the app's to see, and the worker counts as ended", async () => {
  const uncaught = uncaughtErrors();
  const sidecar = client({ onWorkerEnded: ({ code }) => { throw new RangeError(code); } });
  const call = codeOf(sidecar.generateTags(TAGS));
  transport.worker.end({ exitCode: 1 });
  expect(await call).toBe("worker_ended");
  expect(await uncaught).toEqual([new RangeError("worker_ended")]);
  await sidecar.close();
});

test("a second end of the same call is ignored", async () => {
  const call = client().generateTags(TAGS);
  transport.worker.answer("generate-tags", { tags: ["first"] });
  transport.worker.say({ type: "error", command: "generate-tags", id: 1, error: "x", code: "internal", retryable: false });
  expect((await call).tags).toEqual(["first"]);
});

test("an error that names no request fails those that were sent, so that none waits for ever", async () => {
  const sidecar = client({ maxInFlight: 2 });
  const calls = [1, 2, 3].map(() => sidecar.generateTags(TAGS));
  await settled();
  transport.worker.say({ type: "error", command: "unknown", error: "not JSON", code: "parse_error", retryable: false });
  expect(await Promise.all(calls.slice(0, 2).map(codeOf))).toEqual(["parse_error", "parse_error"]);
  expect(await Promise.race([codeOf(calls[2]!), settled()])).toBeUndefined();
});

test("half a surrogate pair is sent as U+FFFD, whole ones and U+2028 as they are", () => {
  void client().generateTags({ content: "a\ud83d b\ude00 \ud83d\ude00 \u2028" });
  expect(transport.worker.requests[0]!.content).toBe("a\ufffd b\ufffd \ud83d\ude00 \u2028");
});

test("that is so in names as well, and a backslash before such letters stays one", () => {
  const schema = { "a\ud83d": 1, "\ud83d\ude00": "\\ud83d \ude00 \\\ud83d" };
  void client().generate({ prompt: "x", schema });
  expect(transport.worker.requests[0]!.schema).toEqual({ "a\ufffd": 1, "\ud83d\ude00": "\\ud83d \ufffd \\\ufffd" });
});

test("a request that is nested deeper than the worker reads fails alone", async () => {
  const sidecar = client();
  expect(await codeOf(sidecar.generate({ prompt: "x", schema: nested(1024) }))).toBe("invalid_params");
  expect(await codeOf(sidecar.generate({ prompt: "x", schema: nested(100_000) }))).toBe("invalid_params");
  void sidecar.generate({ prompt: "x", schema: nested(1023) });
  expect(transport.worker.requests.map(({ id }) => id)).toEqual([3]);
});

test("a request that can't be written as JSON, or is too long, fails alone", async () => {
  const sidecar = client({ maxLineBytes: 200 });
  for (const value of [1n, NaN, -Infinity]) {
    const refusal = { code: "invalid_params", message: expect.stringContaining("schema.deep.0") };
    await expect(sidecar.generate({ prompt: "x", schema: { deep: [value] } })).rejects.toMatchObject(refusal);
  }
  const throwing = { toJSON: () => assert.fail("the caller's own") };
  await expect(sidecar.generate({ prompt: "x", schema: throwing })).rejects.toMatchObject({ code: "invalid_params" });
  expect(await codeOf(sidecar.generateTags({ content: "ü".repeat(100) }))).toBe("message_too_large");
  void sidecar.generateTags({ content: "ü".repeat(70) });
  expect(transport.worker.requests.map(({ id }) => id)).toEqual([6]);
});

test("never more than maxInFlight are in the worker; the others follow in order as places get free", async () => {
  const sidecar = client({ maxInFlight: 2 });
  for (let n = 1; n <= 5; n++) void sidecar.generateTags({ content: `${n}` });
  void sidecar.status();
  await settled();
  expect(transport.worker.requests.map(({ content }) => content)).toEqual(["1", undefined, "2"]);
  for (const id of [2, 1, 6]) transport.worker.say({ type: "response", command: "x", id });
  await settled();
  expect(transport.worker.requests.slice(3).map(({ content }) => content)).toEqual(["3", "4"]);
});

// --- the end of a process -------------------------------------------------------------------------------------------

const MOMENTS: Record<string, (worker: Scripted["worker"]) => void> = {
  "before a word": () => {},
  "in the middle of a line": (worker) => worker.bytes(new TextEncoder().encode('{"type":"resp')),
  "after a delta": (worker) => worker.say({ type: "progress", command: "generate", id: 1, delta: "a" }),
};

for (const [moment, prepare] of Object.entries(MOMENTS)) {
  test(`the process ends ${moment}: all open calls fail with its exit code and stderr, the next call starts another`, async () => {
    const sidecar = client({ backoffMs: [0], maxInFlight: 2 });
    const calls = [1, 2, 3].map(() => sidecar.generate({ prompt: "x" }));
    await settled();
    prepare(transport.worker);
    transport.worker.end({ exitCode: 3, stderr: "first\nlast words\n" });
    for (const call of calls) {
      await expect(call).rejects.toMatchObject({
        code: "worker_ended",
        retryable: true,
        message: "the worker ended with exit code 3: last words",
        data: { exit_code: 3, stderr: "first\nlast words\n" },
      });
    }
    const next = sidecar.generate({ prompt: "y" });
    await vi.waitUntil(() => transport.workers.length === 2);
    await settled();
    transport.worker.answer("generate", { text: "z" });
    expect((await next).text).toBe("z");
  });
}

test("a last line without its LF counts", async () => {
  const call = client().generateTags(TAGS);
  transport.worker.bytes(new TextEncoder().encode('{"type":"response","command":"generate-tags","id":1,"tags":["a"]}'));
  transport.worker.end();
  expect((await call).tags).toEqual(["a"]);
});

test("what a process says after its end, or after another was started, is nobody's", async () => {
  const sidecar = client({ backoffMs: [0] });
  const old = codeOf(sidecar.generateTags(TAGS));
  const [first] = transport.workers;
  first!.end();
  expect(await old).toBe("worker_ended");
  const call = sidecar.generateTags(TAGS);
  await vi.waitUntil(() => transport.workers.length === 2);
  first!.say({ type: "response", command: "generate-tags", id: 2, tags: ["wrong"] });
  first!.listener.end({ exitCode: 0, signal: null, stderr: "" });
  await settled();
  transport.worker.answer("generate-tags", { tags: ["right"] });
  expect((await call).tags).toEqual(["right"]);
});

test("three restarts in a row, each later than the one before; then calls fail at once, until start()", async () => {
  vi.useFakeTimers();
  const sidecar = client();
  const starts: number[] = [];
  const begun = Date.now();
  for (let n = 0; n < 4; n++) {
    const call = codeOf(sidecar.generateTags(TAGS));
    await vi.advanceTimersToNextTimerAsync();
    starts.push(Date.now() - begun);
    expect(transport.workers.length).toBe(n + 1);
    transport.worker.end({ exitCode: 1 });
    expect(await call).toBe("worker_ended");
  }
  expect(starts).toEqual([0, 250, 1250, 5250]);
  await expect(sidecar.generateTags(TAGS)).rejects.toMatchObject({ code: "worker_not_started", retryable: false });
  expect(transport.workers.length).toBe(4);
  sidecar.start();
  expect(transport.workers.length).toBe(5);
  const call = sidecar.generateTags(TAGS);
  transport.worker.answer("generate-tags", { tags: [] });
  expect((await call).tags).toEqual([]);
});

const LEAVE: Record<string, (sidecar: Sidecar, abort: AbortController) => void> = {
  "is aborted": (_, abort) => abort.abort(),
  "is ended by cancelAll": (sidecar) => sidecar.cancelAll(),
};

for (const [how, leave] of Object.entries(LEAVE)) {
  test(`when the only call ${how} during the wait before a restart, nothing is waited for and nothing started`, async () => {
    vi.useFakeTimers();
    const sidecar = client();
    const first = codeOf(sidecar.status());
    transport.worker.end();
    expect(await first).toBe("worker_ended");
    const abort = new AbortController();
    const left = codeOf(sidecar.status({ signal: abort.signal }));
    leave(sidecar, abort);
    expect(await left).toBe("cancelled");
    expect(vi.getTimerCount()).toBe(0);
    const next = codeOf(sidecar.status());
    await vi.advanceTimersByTimeAsync(250);
    expect(transport.workers.length).toBe(2);
    transport.worker.answer("status");
    expect(await next).toBe("worked");
  });
}

test("a process that lived long begins the counting anew", async () => {
  vi.useFakeTimers();
  const sidecar = client();
  for (let n = 0; n < 10; n++) {
    const call = codeOf(sidecar.generateTags(TAGS));
    await vi.advanceTimersByTimeAsync(60_000);
    transport.worker.end({ exitCode: 1 });
    expect(await call).toBe("worker_ended");
  }
  expect(transport.workers.length).toBe(10);
});

test("the model that was loaded is loaded again in the next process, before anything else", async () => {
  const sidecar = client({ backoffMs: [0] });
  const load = sidecar.loadModel({ model_path: "/a/model", context_length: 2048 });
  transport.worker.answer("load-model", { success: true });
  await load;
  transport.worker.end({ signal: "SIGKILL", exitCode: null });
  void sidecar.generateTags(TAGS).catch(() => {});
  await vi.waitUntil(() => transport.workers.length === 2);
  await settled();
  expect(transport.worker.requests.map(({ id: _, ...rest }) => rest)).toEqual([
    { command: "load-model", model_path: "/a/model", context_length: 2048 },
    { command: "generate-tags", content: "a text" },
  ]);
});

test("a model that can't be loaded again is reported, and calls that miss it fail with the reason until one is loaded", async () => {
  const reported: SidecarError[] = [];
  const sidecar = client({ backoffMs: [0], onReloadFailed: (error) => reported.push(error) });
  const refuse = (command: string, code: string): void =>
    transport.worker.say({ type: "error", command, id: transport.worker.id(command), error: "x", code, retryable: false });
  const tags = async (): Promise<string> => {
    const call = codeOf(sidecar.generateTags(TAGS));
    await vi.waitUntil(() => transport.worker.requests.at(-1)?.command === "generate-tags");
    refuse("generate-tags", "model_not_loaded");
    return call;
  };
  const load = sidecar.loadModel({ model_path: "/a/model" });
  transport.worker.answer("load-model");
  await load;
  transport.worker.end({ exitCode: 1 });
  sidecar.start();
  refuse("load-model", "model_not_found");
  expect(await tags()).toBe("model_not_found");
  const answeredByAnother = sidecar.generateStream({ prompt: "x" });
  const pieces: string[] = [];
  const reading = (async () => { for await (const piece of answeredByAnother) pieces.push(piece); })();
  await vi.waitUntil(() => transport.worker.requests.at(-1)?.command === "generate");
  transport.worker.say({ type: "progress", command: "generate", id: transport.worker.id("generate"), delta: "a" });
  transport.worker.answer("generate", { text: "a" });
  expect(await codeOf(reading)).toBe("model_not_found");
  expect(pieces).toEqual([]);
  expect(reported.map(({ code }) => code)).toEqual(["model_not_found"]);
  const unload = sidecar.unloadModel();
  await settled();
  transport.worker.answer("unload-model");
  await unload;
  expect(await tags()).toBe("model_not_loaded");
});

test("a transport that throws is a worker that couldn't be started", async () => {
  const sidecar = new Sidecar({ start: () => { throw new TypeError("no such thing"); } });
  await expect(sidecar.status()).rejects.toMatchObject({ code: "worker_not_started", message: /no such thing/ });
  await sidecar.close();
});

// --- closing --------------------------------------------------------------------------------------------------------

test("close lets the worker finish what it has, and is done when the process is gone", async () => {
  const sidecar = client({ maxInFlight: 1 });
  const [sent, waiting] = [sidecar.generateTags(TAGS), sidecar.generateTags(TAGS)];
  const closing = sidecar.close({ graceMs: 700 });
  expect(sidecar.close()).toBe(closing);
  expect(await codeOf(waiting)).toBe("client_closed");
  await settled();
  expect(transport.worker.requests.at(-1)).toMatchObject({ command: "shutdown", grace_s: 0.7 });
  transport.worker.say({ type: "response", command: "generate-tags", id: 1, tags: ["a"] });
  transport.worker.end();
  expect((await sent).tags).toEqual(["a"]);
  await closing;
  expect(transport.worker.steps).toEqual(["shutdown"]);
  expect(await codeOf(sidecar.status())).toBe("client_closed");
  expect(transport.workers.length).toBe(1);
});

const STUBBORN = { eof: ["shutdown", "eof"], term: ["shutdown", "eof", "term"], kill: ["shutdown", "eof", "term", "kill"] };

for (const [last, steps] of Object.entries(STUBBORN)) {
  test(`close goes on to ${last} where nothing before it helps`, async () => {
    vi.useFakeTimers();
    const sidecar = client();
    const call = codeOf(sidecar.generateTags(TAGS));
    transport.worker.obeys = { [last]: true };
    const closing = sidecar.close();
    await vi.advanceTimersByTimeAsync(12_000);
    await closing;
    expect(transport.worker.steps).toEqual(steps);
    expect(await call).toBe("client_closed");
  });
}

test("close ends in bounded time even where the process can't be killed", async () => {
  vi.useFakeTimers();
  const sidecar = client();
  const call = codeOf(sidecar.generateTags(TAGS));
  const closing = sidecar.close();
  await vi.advanceTimersByTimeAsync(12_000);
  await closing;
  expect(await call).toBe("client_closed");
  expect(vi.getTimerCount()).toBe(0);
});

test("close without a worker, and during the wait before a restart, is done at once", async () => {
  vi.useFakeTimers();
  const idle = client();
  await idle.close();
  await idle.close();
  const sidecar = client({ backoffMs: [60_000] });
  const first = codeOf(sidecar.status());
  transport.worker.end();
  expect(await first).toBe("worker_ended");
  const second = codeOf(sidecar.status());
  await sidecar.close();
  expect(await second).toBe("client_closed");
  expect(transport.workers.length).toBe(1);
  expect(vi.getTimerCount()).toBe(0);
});

test("a time limit that is none is refused by its own name, and Infinity is no limit", async () => {
  const sidecar = client();
  for (const timeoutMs of [0, -1, NaN, -Infinity]) {
    const refusal = { code: "invalid_params", message: expect.stringContaining(`timeoutMs: expected more than 0 milliseconds, got ${timeoutMs}`) };
    await expect(sidecar.generateTags(TAGS, { timeoutMs })).rejects.toMatchObject(refusal);
  }
  void sidecar.generateTags(TAGS, { timeoutMs: Infinity });
  expect(transport.worker.requests).toEqual([expect.not.objectContaining({ timeout_s: expect.anything() })]);
});

test.each([
  ["restarts", NaN],
  ["restarts", -1],
  ["healthyMs", NaN],
  ["maxInFlight", 0],
  ["maxInFlight", NaN],
  ["maxLineBytes", 0],
  ["backoffMs", [1, NaN]],
  ["backoffMs", [Infinity]],
])("the option %s can't be %s", (name, value) => {
  expect(() => client({ [name]: value })).toThrow(new RegExp(`^${name}: expected a number of at least`));
});

test.each([NaN, -1, 0])("a grace of %s is none", async (graceMs) => {
  const sidecar = client();
  void sidecar.generateTags(TAGS).catch(() => {});
  void sidecar.close({ graceMs });
  await settled();
  expect(transport.worker.requests.at(-1)).toMatchObject({ command: "shutdown", grace_s: 0 });
});

test("an endless grace doesn't end at once", async () => {
  const sidecar = client();
  void sidecar.generateTags(TAGS).catch(() => {});
  void sidecar.close({ graceMs: Infinity });
  await settled();
  expect(transport.worker.requests.at(-1)?.grace_s).toBeGreaterThan(3600);
});
