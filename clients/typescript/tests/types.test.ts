/** What an app's own compiler says of the types that are shipped. */
import { execFile } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { folder } from "./worker.js";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));

const APP = `
import { Sidecar, SidecarError, type Transport } from "mlx-sidecar";
import { nodeTransport } from "mlx-sidecar/node";
import { tauriTransport } from "mlx-sidecar/tauri";

const transports: Transport[] = [tauriTransport({ sidecar: "a" }), nodeTransport({ command: "a" })];
const sidecar = new Sidecar(transports[0]!);
try {
  for await (const piece of sidecar.generateStream({ prompt: "x" })) piece.trim();
} catch (error) {
  if (error instanceof SidecarError) error.code satisfies string;
}
await sidecar.close();
`;

const STRICT = {
  target: "ES2022",
  lib: ["ES2022", "DOM"],
  module: "NodeNext",
  types: [],
  strict: true,
  exactOptionalPropertyTypes: true,
  noEmit: true,
};

test("an app that is strict, and knows nothing of Node or of what comes after ES2022, compiles", async () => {
  const app = folder();
  mkdirSync(join(app, "node_modules"));
  symlinkSync(PACKAGE, join(app, "node_modules/mlx-sidecar"));
  writeFileSync(join(app, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions: STRICT, files: ["app.ts"] }));
  writeFileSync(join(app, "app.ts"), APP);
  const compiler = join(PACKAGE, "node_modules/typescript/bin/tsc");
  const problems = await promisify(execFile)(process.execPath, [compiler, "-p", app]).then(
    () => "",
    (error) => error.stdout || String(error),
  );
  expect(problems).toBe("");
});
