// What is shipped, and where the app looks for it.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { workerPlace } from "./electron/place.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const missing = ["cargo", "dpkg-deb"].find((tool) => spawnSync(tool, ["--version"]).error);
const skip = missing ? `there is no ${missing} on this machine` : false;
if (skip) console.error(`\n!! SKIPPED: a package of the Tauri example: ${skip}.\n`);

const CAPABILITY = JSON.parse(readFileSync(join(here, "tauri/src-tauri/capabilities/default.json"), "utf8"));
const CONFIG = JSON.parse(readFileSync(join(here, "tauri/src-tauri/tauri.conf.json"), "utf8"));

/** A folder that is gone when the test ends. */
function folderFor(context) {
  const folder = mkdtempSync(join(tmpdir(), "mlx-sidecar-ship-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Laid out as `python -m mlx_sidecar.bundle` does it. */
function smallBundle(folder) {
  const bundle = join(folder, "mlx-sidecar-x86_64-unknown-linux-gnu");
  mkdirSync(join(bundle, "_internal/mlx/lib"), { recursive: true });
  writeFileSync(join(bundle, "_internal/mlx/lib/libmlx.so"), "a library");
  writeFileSync(join(bundle, "mlx-sidecar"), '#!/bin/sh\ncat "$(dirname "$0")/_internal/mlx/lib/libmlx.so"\n', { mode: 0o755 });
  return bundle;
}

/** The Tauri example without what was built in it, and an executable in place of the app's: Tauri's bundler looks at its place only. */
function appIn(folder) {
  const app = join(folder, "tauri");
  const left = ["node_modules", "binaries", "target", "gen", "dist", "build"];
  cpSync(join(here, "tauri"), app, { recursive: true, filter: (path) => !left.includes(basename(path)) });
  symlinkSync(join(here, "tauri/node_modules"), join(app, "node_modules"));
  mkdirSync(join(app, "src-tauri/target/release"), { recursive: true });
  copyFileSync("/bin/true", join(app, "src-tauri/target/release/mlx-sidecar-tauri-example"));
  return app;
}

test("a package of the Tauri app has the bundle, whole, where the capability says", { skip }, (context) => {
  const folder = folderFor(context);
  const app = appIn(folder);
  const run = (command, args) => execFileSync(command, args, { cwd: app, encoding: "utf8", timeout: 60_000, stdio: ["ignore", "pipe", "pipe"] });
  run("node", ["sidecar.mjs", smallBundle(folder)]);
  run("npx", ["tauri", "bundle", "--bundles", "deb", "--config", "src-tauri/tauri.bundle.conf.json"]);
  const packages = join(app, "src-tauri/target/release/bundle/deb");
  run("sh", ["-c", 'dpkg-deb -x "$0"/*.deb "$1"', packages, join(folder, "installed")]);

  const [, { cmd }] = CAPABILITY.permissions.find(({ identifier }) => identifier === "shell:allow-spawn").allow;
  const program = cmd.replace("$RESOURCE", join(folder, "installed/usr/lib", CONFIG.productName));
  assert.equal(run(program, []), "a library");
  assert.deepEqual(run("ls", [join(folder, "installed/usr/bin")]), "mlx-sidecar-tauri-example\n"); // No launcher of this checkout.
});

test("a folder that is no bundle isn't taken for one", (context) => {
  const folder = folderFor(context);
  const app = appIn(folder);
  const bundle = smallBundle(folder);
  const refused = () => spawnSync("node", ["sidecar.mjs", bundle], { cwd: app, encoding: "utf8" });
  chmodSync(join(bundle, "mlx-sidecar"), 0o644);
  assert.match(refused().stderr, /EACCES.*mlx-sidecar/);
  chmodSync(join(bundle, "mlx-sidecar"), 0o755);
  rmSync(join(bundle, "_internal"), { recursive: true });
  assert.match(refused().stderr, /ENOENT.*_internal/);
});

test("a packaged Electron app looks for the bundle in its resources, a checkout in its environment", () => {
  const resourcesPath = "/Applications/Notes.app/Contents/Resources";
  assert.equal(workerPlace({ isPackaged: true, resourcesPath }), `${resourcesPath}/worker/mlx-sidecar`);
  assert.equal(workerPlace({ isPackaged: false, resourcesPath }), process.env.MLX_SIDECAR ?? join(here, "../.venv/bin/mlx-sidecar"));
});
