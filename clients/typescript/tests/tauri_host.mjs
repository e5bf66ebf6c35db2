/**
 * The half of tauri-plugin-shell that is written in Rust, as its source has it (2.0 to 2.4): what its commands do with
 * a process, and how its events come. The other half, the plugin's own JavaScript, runs as it is in tests and pictures.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";

/** Its reader's buffer: no chunk is longer. */
const CHUNK_BYTES = 8192;

/**
 * @param {Record<string, { path: string, sidecar: boolean }>} scope what the capability allows, by its name there
 * @param {(channel: number, message: object) => void} send into a channel of the page
 */
export function tauriHost(scope, send) {
  /** @type {Map<number, import("node:child_process").ChildProcessWithoutNullStreams>} */
  const children = new Map();

  /** @type {Record<string, (args: any) => unknown>} */
  const commands = {
    "plugin:shell|spawn": ({ program, args, options, onEvent }) => {
      const allowed = scope[program];
      if (!allowed || allowed.sidecar !== Boolean(options.sidecar)) throw `program not allowed on the configured shell scope: ${program}`;
      if (options.encoding !== "raw") throw "this host knows no other encoding";
      return start(allowed.path, args, options, channelOf(onEvent));
    },
    // Blocks in Rust, on the app's main thread; an unknown pid is no error.
    "plugin:shell|stdin_write": ({ pid, buffer }) => {
      const child = children.get(pid);
      const bytes = typeof buffer === "string" ? buffer : Buffer.from(buffer);
      return child && new Promise((done, fail) => child.stdin.write(bytes, (error) => (error ? fail(String(error)) : done(null))));
    },
    "plugin:shell|kill": ({ pid }) => {
      const child = children.get(pid);
      children.delete(pid);
      child?.kill("SIGKILL");
      child?.stdin.destroy();
    },
  };

  /** @param {string} command @param {any} args */
  async function invoke(command, args) {
    const run = commands[command];
    if (!run) throw `command ${command} not found`;
    return (await run(args)) ?? null;
  }

  /** @param {string} path @param {string[]} args @param {any} options @param {number} channel */
  async function start(path, args, options, channel) {
    const child = spawn(path, args, { stdio: "pipe", env: { ...process.env, ...options.env }, cwd: options.cwd });
    let index = 0;
    /** @param {string} event @param {unknown} payload */
    const emit = (event, payload) => send(channel, { index: index++, message: { event, payload } });
    /** @param {string} event */
    const chunks = (event) => (/** @type {Buffer} */ bytes) => {
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) emit(event, [...bytes.subarray(at, at + CHUNK_BYTES)]);
    };
    child.stdout.on("data", chunks("Stdout"));
    child.stderr.on("data", chunks("Stderr"));
    child.stdin.on("error", () => {});
    await new Promise((resolve, reject) => {
      child.on("spawn", resolve);
      child.on("error", (/** @type {Error} */ error) => reject(error.message));
    });
    const pid = /** @type {number} */ (child.pid);
    children.set(pid, child);
    // After the readers have seen the ends of both pipes.
    child.on("close", (code, signal) => {
      children.delete(pid);
      emit("Terminated", { code, signal: signal && constants.signals[signal] });
    });
    return pid;
  }

  /** As the app's exit does. */
  const exit = () => children.forEach((_, pid) => commands["plugin:shell|kill"]?.({ pid }));
  return { invoke, exit };
}

/** @param {string | { id: number }} channel */
const channelOf = (channel) => (typeof channel === "string" ? Number(channel.split(":")[1]) : channel.id);
