/**
 * Orphans: processes that an earlier load of this page started. A page that is reloaded has lost them, and the plugin ends
 * them only with the app; so session storage keeps their pids. The plugin kills only processes of its own.
 */
import { Child } from "@tauri-apps/plugin-shell";

const KEY = "mlx-sidecar";

interface Started {
  readonly pid: number;
  /** Which load of the page. */
  readonly page: number;
}

export function killOrphans(): void {
  const orphans = read().filter(({ page }) => page !== performance.timeOrigin);
  write(read().filter(({ page }) => page === performance.timeOrigin));
  for (const { pid } of orphans) void new Child(pid).kill().catch(() => {});
}

export function rememberProcess(pid: number): void {
  write([...read(), { pid, page: performance.timeOrigin }]);
}

export function forgetProcess(pid: number): void {
  write(read().filter((entry) => entry.pid !== pid));
}

function read(): Started[] {
  try {
    return JSON.parse(globalThis.sessionStorage?.getItem(KEY) ?? "[]");
  } catch {
    return []; // A page without storage, or another program's entry.
  }
}

function write(started: readonly Started[]): void {
  try {
    globalThis.sessionStorage?.setItem(KEY, JSON.stringify(started));
  } catch {
    // Without storage a reloaded page leaves its worker running until the app ends.
  }
}
