// Where the worker is. Knows nothing of Electron but the two words it is told, so that it can be tested without.
// @ts-check
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * A packaged app has the bundle among its resources (`extraResources`), a checkout has its environment.
 * @param {{ isPackaged: boolean, resourcesPath: string }} app
 */
export function workerPlace({ isPackaged, resourcesPath }) {
  if (isPackaged) return join(resourcesPath, "worker", "mlx-sidecar");
  return process.env.MLX_SIDECAR ?? fileURLToPath(new URL("../../.venv/bin/mlx-sidecar", import.meta.url));
}
