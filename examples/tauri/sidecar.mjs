// Puts a worker where tauri.conf.json or tauri.bundle.conf.json wants one.
//   node sidecar.mjs                                    for development, as `externalBin`: a launcher of this checkout's .venv,
//                                                       src-tauri/binaries/mlx-sidecar-<target triple>
//   node sidecar.mjs path/to/mlx-sidecar-<target triple>  to ship, among `resources`: a copy of that bundle,
//                                                       src-tauri/binaries/worker/
import { execFileSync } from "node:child_process";
import { accessSync, chmodSync, constants, cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("src-tauri/binaries/", import.meta.url));
const [bundle] = process.argv.slice(2);

mkdirSync(folder, { recursive: true });
console.log(bundle ? copy(bundle) : launcher());

/** @param {string} bundle */
function copy(bundle) {
  const place = join(folder, "worker");
  accessSync(join(bundle, "mlx-sidecar"), constants.X_OK);
  accessSync(join(bundle, "_internal"));
  rmSync(place, { recursive: true, force: true });
  cpSync(bundle, place, { recursive: true, verbatimSymlinks: true });
  return place;
}

function launcher() {
  const [, triple] = /^host: (\S+)/m.exec(execFileSync("rustc", ["-vV"], { encoding: "utf8" }));
  const place = join(folder, `mlx-sidecar-${triple}`);
  const worker = fileURLToPath(new URL("../../.venv/bin/mlx-sidecar", import.meta.url));
  // `exec`, so that the process that the app starts and kills is the worker itself.
  writeFileSync(place, `#!/bin/sh\nexec '${worker.replaceAll("'", "'\\''")}' "$@"\n`);
  chmodSync(place, 0o755);
  return place;
}
