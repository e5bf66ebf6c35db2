/** The real worker with the embedded model, over both transports. */
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { Sidecar, type SidecarError } from "../src/index.js";
import { tauriTransport } from "../src/tauri.js";
import { allowed, folder, sidecar, TRANSPORTS, WORKER } from "./worker.js";

const CONTENT =
  "The home team won the final with a goal in the last minute. For most of the match the visitors had been stronger, " +
  "but their keeper made one mistake. Thousands of fans celebrated in the streets until midnight.";
const DEMO = ["--model", "demo"];
const DEMO_FOLDER = fileURLToPath(new URL("../../../mlx_sidecar/demo", import.meta.url));

describe.each(Object.entries(TRANSPORTS))("%s", (_, transport) => {
  let shared: Sidecar | undefined;
  const demo = (): Sidecar => (shared ??= new Sidecar(transport(WORKER, DEMO)));
  afterAll(() => shared?.close());

  test("every command answers", async () => {
    const client = sidecar(transport(WORKER, []));
    expect(await client.checkAvailability()).toMatchObject({ available: true, protocol: 1 });
    const measures: number[] = [];
    const loaded = await client.loadModel({ model_path: "demo" }, { onProgress: ({ progress }) => measures.push(progress) });
    expect(loaded).toMatchObject({ success: true, model_type: "qwen3" });
    expect(measures.at(-1)).toBe(100);
    expect(await client.modelInfo()).toMatchObject({ model_name: loaded.model_name });
    expect((await client.generateTags({ content: CONTENT, max_tags: 3 })).tags.length).toBeLessThanOrEqual(3);
    expect(await client.generate({ prompt: CONTENT, schema: { type: "boolean" } })).toMatchObject({ finish_reason: "stop" });
    expect(await client.status()).toMatchObject({ state: "idle", model: loaded.model_name });
    expect(await client.listModels({ folder: dirname(DEMO_FOLDER) })).toMatchObject({ models: [{ path: DEMO_FOLDER }] });
    const offline = await client.downloadModel({ repo_id: "owner/name" }).catch((error: SidecarError) => error);
    expect(offline).toMatchObject({ name: "SidecarError", code: "no_connection", retryable: true });
    expect(await client.unloadModel()).toMatchObject({ success: true });
    expect(await client.modelInfo().catch((error: SidecarError) => error.code)).toBe("model_not_loaded");
  });

  test("a streamed summary is its pieces", async () => {
    const stream = demo().summarizeStream({ content: CONTENT, style: "paragraph" });
    const pieces = [];
    for await (const piece of stream) pieces.push(piece);
    expect(pieces.length).toBeGreaterThan(1);
    expect((await stream.result).summary).toBe(pieces.join(""));
  });

  test("U+2028 in a delta is text", async () => {
    const text = "one\u2028line\u2029of\u0085text 𝄞";
    const stream = demo().generateStream({ prompt: "x", choices: [text] });
    const pieces = [];
    for await (const piece of stream) pieces.push(piece);
    expect(pieces.join("")).toBe(text);
    expect((await stream.result).text).toBe(text);
  });

  test("schemas that are no text, or as deep as a line may be, fail nobody else's call", async () => {
    const client = demo();
    const good = client.generateTags({ content: CONTENT });
    let deep: { [name: string]: unknown } = {};
    for (let levels = 2; levels < 1024; levels++) deep = { items: deep };
    const bad = [{ type: "object", properties: { "\ud800": { type: "string" } } }, deep, { items: deep }].map((schema) =>
      client.generate({ prompt: "x", schema, max_tokens: 1 }).catch((error: SidecarError) => error.code),
    );
    expect(await Promise.all(bad)).not.toContain("parse_error");
    expect((await good).tags.length).toBeGreaterThan(0);
  });

  test("lines of 5 MB in both directions", async () => {
    const description = "ü\u2028x".repeat(900_000);
    const model = folder();
    for (const name of ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]) {
      symlinkSync(join(DEMO_FOLDER, name), join(model, name));
    }
    const config = JSON.parse(readFileSync(join(DEMO_FOLDER, "config.json"), "utf8"));
    writeFileSync(join(model, "config.json"), JSON.stringify({ ...config, description }));
    const client = sidecar(transport(WORKER, []));
    const answer = await client.loadModel({ model_path: model });
    expect(Buffer.byteLength(JSON.stringify(answer))).toBeGreaterThan(5_000_000);
    expect(answer.description === description).toBe(true);
    const unknown = { padding: description } as object;
    const warned = await client.listModels({ folder: model, ...unknown });
    expect(warned.warnings).toEqual([expect.stringContaining("'padding'")]);
  });

  test("an aborted request is cancelled in the worker, which goes on", async () => {
    const client = demo();
    const abort = new AbortController();
    const stream = client.generateStream({ prompt: "x", max_tokens: 1_000_000, schema: { type: "string", minLength: 10_000 } }, { signal: abort.signal });
    await expect(
      (async () => {
        for await (const _ of stream) abort.abort();
      })(),
    ).rejects.toMatchObject({ code: "cancelled" });
    expect((await client.generateTags({ content: CONTENT })).tags.length).toBeGreaterThan(0);
    expect(await client.status()).toMatchObject({ running: 0, queued: 0 });
  });

  test("a timeout brings what was written", async () => {
    const client = demo();
    await client.modelInfo(); // Loading isn't part of it.
    const late = client.generate({ prompt: "x", max_tokens: 1_000_000, schema: { type: "string", minLength: 10_000 } }, { timeoutMs: 300 });
    await expect(late).rejects.toMatchObject({ code: "timeout", data: { text: expect.any(String) } });
  });

  test("close ends the worker by its own shutdown", async () => {
    const endings: string[] = [];
    const client = sidecar(transport(WORKER, DEMO), { onWorkerEnded: ({ message }) => endings.push(message) });
    const tags = client.generateTags({ content: CONTENT });
    await client.checkAvailability();
    await client.close({ graceMs: 30_000 }); // Ends sooner; a busy machine may be slow to write the tags.
    expect((await tags).tags.length).toBeGreaterThan(0);
    expect(endings).toEqual([]);
  });
});

describe("what a Tauri app may start", () => {
  const program = allowed("a program", WORKER, false);
  const single = allowed("binaries/a sidecar", WORKER, true);

  test("a program is started by its name in the capability", async () => {
    const client = sidecar(tauriTransport({ program, args: DEMO }));
    expect(await client.modelInfo()).toMatchObject({ model_type: "qwen3" });
  });

  test.each([{ program: single }, { sidecar: program }, { program: WORKER }])("neither goes for the other: %o", async (named) => {
    const client = sidecar(tauriTransport(named), { restarts: 0 });
    const refused = await client.modelInfo().catch((error: SidecarError) => error);
    expect(refused).toMatchObject({ code: "worker_not_started", message: expect.stringContaining("not allowed") });
  });
});
