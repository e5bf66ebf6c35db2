// Puts a worker where `externalBin` wants one: src-tauri/binaries/mlx-sidecar-<target triple>.
//   node sidecar.mjs                  a launcher of this checkout's .venv, for development
//   node sidecar.mjs path/to/binary   a copy of that file
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("src-tauri/binaries/", import.meta.url));
const [, triple] = /^host: (\S+)/m.exec(execFileSync("rustc", ["-vV"], { encoding: "utf8" }));
const place = `${folder}mlx-sidecar-${triple}`;
const [binary] = process.argv.slice(2);

mkdirSync(folder, { recursive: true });
if (binary) {
  copyFileSync(binary, place);
} else {
  const worker = fileURLToPath(new URL("../../.venv/bin/mlx-sidecar", import.meta.url));
  // `exec`, so that the process that the app starts and kills is the worker itself.
  writeFileSync(place, `#!/bin/sh\nexec '${worker.replaceAll("'", "'\\''")}' "$@"\n`);
}
chmodSync(place, 0o755);
console.log(place);
