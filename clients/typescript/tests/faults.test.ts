/** What befalls processes: killed in the middle, never there, gone at once, talking nonsense; and a thousand requests. */
import { type ChildProcessByStdio, execFileSync, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { Sidecar, SidecarError } from "../src/index.js";
import { nodeTransport } from "../src/node.js";
import { random } from "./random.js";
import { Watched } from "./watched.js";
import { script, sidecar, TRANSPORTS, WORKER } from "./worker.js";

const CONTENT = "The old lighthouse keeper retired in spring. A young engineer from the harbour took over the lamp and the logs.";
const DEMO = ["--model", "demo"];
const LONG = { prompt: "x", max_tokens: 100_000, schema: { type: "string", minLength: 10_000 } };

const unhandled: unknown[] = [];
const warnings: unknown[] = [];
beforeAll(() => {
  process.on("unhandledRejection", (reason) => unhandled.push(reason));
  process.on("warning", (warning) => warnings.push(warning));
});
afterAll(() => {
  expect(unhandled).toEqual([]);
  expect(warnings).toEqual([]);
});

const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "worked",
    (error: SidecarError) => error.code,
  );

describe.each(Object.entries(TRANSPORTS))("%s", (_, transport) => {
  test("1,000 requests with random cancels: each is settled once, and the worker has none left", async () => {
    const wire = new Watched(transport(WORKER, DEMO));
    const client = sidecar(wire, { maxInFlight: 64 });
    const next = random(11);
    const settlements: number[] = Array(1000).fill(0);
    const outcomes = Array.from({ length: 1000 }, async (_, n) => {
      const abort = new AbortController();
      const options = { signal: abort.signal };
      const kind = n % 8;
      const call =
        kind === 0 ? client.generate({ prompt: "x", choices: ["yes", "no"] }, options)
        : kind === 1 ? client.checkAvailability(options)
        : kind === 2 ? client.generateStream({ prompt: "x", choices: ["a b c", "d e f"] }, options).result
        : client.modelInfo(options);
      const count = (): number => settlements[n]!++;
      void call.then(count, count);
      const outcome = codeOf(call);
      if (next(3) === 1) setTimeout(() => abort.abort(), next(2000));
      else if (next(10) === 1) abort.abort();
      return outcome;
    });
    const codes = await Promise.all(outcomes);
    expect(settlements).toEqual(Array(1000).fill(1));
    expect(new Set(codes)).toEqual(new Set(["cancelled", "worked"]));
    expect(await client.status()).toMatchObject({ running: 0, queued: 0 });
    await client.close();
    const once = new Map([...wire.written].map((id) => [id, 1]));
    expect(once.size).toBeGreaterThan(500);
    expect(wire.endings).toEqual(once);
    console.info(`1,000 settled, ${codes.filter((code) => code === "cancelled").length} of them cancelled`);
  });

  test("the worker is killed in the middle: all that is open rejects, and the next call works", async () => {
    const ended: SidecarError[] = [];
    const client = sidecar(transport(WORKER, DEMO), { maxInFlight: 64, onWorkerEnded: (error) => ended.push(error) });
    const streams = Array.from({ length: 1000 }, () => client.generateStream(LONG));
    for await (const _ of streams[0]!) break; // It writes.
    const pid = workerOf(process.pid);
    const rejected = Promise.all(streams.map(({ result }) => codeOf(result)));
    const killed = performance.now();
    process.kill(pid, "SIGKILL");
    expect(new Set((await rejected).slice(1))).toEqual(new Set(["worker_ended"]));
    const ms = performance.now() - killed;
    console.info(`1,000 calls rejected ${Math.round(ms)} ms after the kill`);
    expect(ms).toBeLessThan(1000); // Promised.
    expect((await client.generateTags({ content: CONTENT })).tags.length).toBeGreaterThan(0);
    expect(ended.map(({ data }) => data)).toEqual([expect.objectContaining({ exit_code: null, stderr: "" })]);
  });

  test("an executable that isn't there", async () => {
    const client = sidecar(transport("/nonexistent/mlx-sidecar", []), { backoffMs: [0] });
    await expect(client.status()).rejects.toMatchObject({ code: "worker_not_started", message: /ENOENT/, retryable: false });
    await client.close();
  });

  test("a cwd that isn't there, or is a file, isn't blamed on the command", async () => {
    for (const cwd of ["/no/such/folder", process.execPath]) {
      const client = sidecar(nodeTransport({ command: process.execPath, cwd }));
      const message = expect.stringContaining(`its cwd ${JSON.stringify(cwd)} is not a folder`);
      await expect(client.status()).rejects.toMatchObject({ code: "worker_not_started", message });
    }
  });

  test("a process that ends at once, time and again: a bounded number of them, and its last words", async () => {
    let endings = 0;
    const dying = script("console.error('first words\\nno such flag'); process.exit(2)");
    const client = sidecar(transport(...dying), { backoffMs: [0], onWorkerEnded: () => endings++ });
    for (let n = 0; n < 4; n++) {
      await expect(client.generateTags({ content: "x".repeat(1_000_000) })).rejects.toMatchObject({
        code: "worker_ended",
        message: "the worker ended with exit code 2: no such flag",
        retryable: false, // It is asked to start in a way that it doesn't know.
      });
    }
    await expect(client.status()).rejects.toMatchObject({ code: "worker_not_started", message: /4 times.*no such flag/ });
    expect(endings).toBe(4);
  });

  test("a process that closes its stdin and lives on is ended, and its calls fail", async () => {
    const deaf = transport("/bin/sh", ["-c", "exec 0<&-; echo deaf; exec sleep 50"]);
    const noise = vi.fn();
    const client = sidecar(deaf, { onNoise: noise });
    client.start();
    await vi.waitUntil(() => noise.mock.calls.length > 0, { timeout: 20_000 });
    const call = client.status();
    await expect(call).rejects.toMatchObject({ code: "worker_ended", data: { exit_code: null } });
  });

  test("a process that talks nonsense on stdout and stderr without end, and reads nothing, can be closed", async () => {
    const noise = vi.fn();
    const talking = script(`process.on("SIGTERM", () => {});
      const say = (to) => to.write("\\0nonsense ü\\n".repeat(1000), () => say(to));
      say(process.stdout); say(process.stderr);`);
    const client = new Sidecar(transport(...talking), { onNoise: noise });
    const call = codeOf(client.generateTags({ content: "x".repeat(5_000_000) }));
    await vi.waitUntil(() => noise.mock.calls.length > 10_000, { timeout: 30_000 });
    await client.close({ graceMs: 0 });
    expect(await call).toBe("client_closed");
  });
});

test("the worker is gone when the app is killed", async () => {
  const app = startApp(APP);
  await first(app.stdout);
  const pid = workerOf(app.pid!);
  app.kill("SIGKILL");
  await vi.waitUntil(() => !isAlive(pid), { timeout: 20_000, interval: 200 });
});

test("an app that has nothing open ends by itself, and with it the worker", async () => {
  const app = startApp(APP_THAT_ENDS);
  const ended = new Promise((resolve) => app.on("exit", resolve));
  await first(app.stdout);
  const pid = workerOf(app.pid!);
  app.stdin.write("go\n");
  expect(await ended).toBe(0);
  await vi.waitUntil(() => !isAlive(pid), { timeout: 20_000, interval: 200 });
});

test("a child of the worker's that holds its pipes doesn't keep the app alive after close()", async () => {
  const app = startApp(APP_THAT_CLOSES, script(PARENT));
  const ended = new Promise((resolve) => app.on("exit", resolve));
  const grandchild = Number(await first(app.stdout));
  onTestFinished(() => void process.kill(grandchild, "SIGKILL"));
  expect(await ended).toBe(0);
  expect(isAlive(grandchild)).toBe(true);
});

type Command = [command: string, args: string[]];

function startApp(code: string, [command, args]: Command = [WORKER, []]): ChildProcessByStdio<Writable, Readable, null> {
  const app = spawn(process.execPath, ["--input-type=module", "-e", code, command, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => void app.kill("SIGKILL"));
  return app;
}

const BUILT = JSON.stringify(fileURLToPath(new URL("../dist/", import.meta.url)));
const APP_THAT_ENDS = `
  const { Sidecar } = await import(${BUILT} + "index.js");
  const { nodeTransport } = await import(${BUILT} + "node.js");
  const client = new Sidecar(nodeTransport({ command: process.argv[1] }));
  await client.checkAvailability();
  console.log("it answers");
  await new Promise((resolve) => process.stdin.once("data", resolve));
  process.stdin.unref();`;
const APP = `${APP_THAT_ENDS}\nsetInterval(() => {}, 1000);`;

/** Ends with its stdin, and leaves a child behind. */
const PARENT = `
  const child = require("node:child_process").spawn("sleep", ["50"], { stdio: ["ignore", "inherit", "inherit"] });
  child.unref();
  console.log(child.pid);
  process.stdin.resume();`;
const APP_THAT_CLOSES = `
  const { Sidecar } = await import(${BUILT} + "index.js");
  const { nodeTransport } = await import(${BUILT} + "node.js");
  const [, command, ...args] = process.argv;
  let told;
  const begun = new Promise((resolve) => (told = resolve));
  const client = new Sidecar(nodeTransport({ command, args }), { onNoise: (pid) => told(pid) });
  client.start();
  const alive = setInterval(() => {}, 1000);
  console.log(await begun);
  await client.close({ graceMs: 0 });
  clearInterval(alive);`;

const first = (stream: NodeJS.ReadableStream): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    stream.once("data", resolve);
    stream.once("end", () => reject(new Error("it said nothing")));
  });

/** Processes that aren't over: pid, pid of the parent, command line. */
function processes(): Array<[pid: number, parent: number, args: string]> {
  const table = execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat=,args="], { encoding: "utf8" });
  return table.split("\n").flatMap((row) => {
    const [, pid, parent, state, args] = /^ *(\d+) +(\d+) +(\S+) +(.*)/.exec(row) ?? [];
    return args === undefined || state!.startsWith("Z") ? [] : [[Number(pid), Number(parent), args]];
  });
}

const isAlive = (pid: number): boolean => processes().some(([each]) => each === pid);

/** The only child of that process that is a worker. */
function workerOf(app: number): number {
  const found = processes().find(([, parent, args]) => parent === app && args.includes("mlx-sidecar"));
  if (!found) throw new Error("no worker is running");
  return found[0];
}
