/**
 * Processes that an earlier load of this page started. A page that is loaded anew has forgotten them, and the plugin ends
 * them only with the app; so their pids are kept where a reload finds them. The plugin kills nothing that isn't its own.
 */
import { Child } from "@tauri-apps/plugin-shell";

const KEY = "mlx-sidecar";

interface Started {
  readonly pid: number;
  /** Which load of the page. */
  readonly page: number;
}

export function killLeftovers(): void {
  const leftovers = read().filter(({ page }) => page !== performance.timeOrigin);
  write(read().filter(({ page }) => page === performance.timeOrigin));
  for (const { pid } of leftovers) void new Child(pid).kill().catch(() => {});
}

export function noteStarted(pid: number): void {
  write([...read(), { pid, page: performance.timeOrigin }]);
}

export function noteEnded(pid: number): void {
  write(read().filter((each) => each.pid !== pid));
}

function read(): Started[] {
  try {
    return JSON.parse(globalThis.sessionStorage?.getItem(KEY) ?? "[]");
  } catch {
    return []; // A page without storage, or somebody else's entry.
  }
}

function write(started: readonly Started[]): void {
  try {
    globalThis.sessionStorage?.setItem(KEY, JSON.stringify(started));
  } catch {
    // Without storage a reload leaves the worker to the app's end.
  }
}
