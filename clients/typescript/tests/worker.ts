/** The real worker, over the two real transports, and processes that are none. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { mockIPC } from "@tauri-apps/api/mocks";
import { onTestFinished } from "vitest";
import { Sidecar, type SidecarOptions, type Transport } from "../src/index.js";
import { nodeTransport } from "../src/node.js";
import { tauriTransport } from "../src/tauri.js";
import { tauriHost } from "./tauri_host.mjs";

export const WORKER: string =
  process.env.MLX_SIDECAR ?? fileURLToPath(new URL("../../../.venv/bin/mlx-sidecar", import.meta.url));

/** Nothing from outside, and a cache that isn't there. */
const ENV = { HF_HUB_OFFLINE: "1", HF_HOME: "/nonexistent" };

(globalThis as { window?: unknown }).window ??= globalThis;

type Internals = { runCallback(id: number, message: object): void };

export const TRANSPORTS: Record<string, (command: string, args: readonly string[]) => Transport> = {
  node: (command, args) => nodeTransport({ command, args, env: ENV }),
  tauri: (command, args) => tauriTransport({ sidecar: allowed(`binaries/${command}`, command, true), args, env: ENV }),
};

/** The app around the page: what the capability allows is added as it is needed. */
const scope: Record<string, { path: string; sidecar: boolean }> = {};
const host = tauriHost(scope, (channel, message) => {
  (globalThis as unknown as { __TAURI_INTERNALS__: Internals }).__TAURI_INTERNALS__.runCallback(channel, message);
});
mockIPC((name, args) => host.invoke(name, args));

/** Puts a command into the capability, under this name. */
export function allowed(name: string, path: string, sidecar: boolean): string {
  scope[name] = { path, sidecar };
  return name;
}

/** A client that is closed when the test ends. */
export function sidecar(transport: Transport, options: SidecarOptions = {}): Sidecar {
  const client = new Sidecar(transport, options);
  onTestFinished(() => client.close({ graceMs: 0 }));
  return client;
}

/** A folder that is gone when the test ends. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "mlx-sidecar-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A process that runs this JavaScript. */
export const script = (code: string): [command: string, args: string[]] => [process.execPath, ["-e", code]];
