/** What an app's own compiler and loader say of the package that is shipped. */
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { folder } from "./worker.js";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const run = promisify(execFile);

const IMPORTS = `
import { Sidecar, SidecarError, type GenerateTagsResponse, type Transport } from "mlx-sidecar";
import { nodeTransport } from "mlx-sidecar/node";
import { tauriTransport } from "mlx-sidecar/tauri";
`;

const STRICT_APP = `${IMPORTS}
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

/** As in the main process of an app made by \`create-electron-app --template=webpack-typescript\`, or vite-typescript. */
const FORGE_APP = `${IMPORTS}
const transports: Transport[] = [tauriTransport({ sidecar: "a" }), nodeTransport({ command: "a" })];
const sidecar = new Sidecar(transports[0]);
sidecar.generateTags({ content: "x" }).then(
  (answer: GenerateTagsResponse) => answer.tags.join(),
  (error: SidecarError) => error.code.trim(),
);
// @ts-expect-error: the types are there, they aren't just \`any\`
sidecar.generateTags({ contents: "x" });
`;

const FORGE = {
  allowJs: true,
  module: "commonjs",
  skipLibCheck: true,
  esModuleInterop: true,
  noImplicitAny: true,
  sourceMap: true,
  baseUrl: ".",
  outDir: "dist",
  moduleResolution: "node",
  resolveJsonModule: true,
};
const FORGE_WEBPACK = { ...FORGE, target: "ES6", paths: { "*": ["node_modules/*"] } };
const FORGE_VITE = { ...FORGE, target: "ESNext" };

/** The folder of an app that has the package installed. */
function app(kind: "module" | "commonjs"): string {
  const path = folder();
  mkdirSync(join(path, "node_modules/@tauri-apps"), { recursive: true });
  symlinkSync(PACKAGE, join(path, "node_modules/mlx-sidecar"));
  symlinkSync(join(PACKAGE, "node_modules/@tauri-apps/plugin-shell"), join(path, "node_modules/@tauri-apps/plugin-shell"));
  writeFileSync(join(path, "package.json"), JSON.stringify({ type: kind }));
  return path;
}

/** What a compiler of this package's development dependencies complains of. */
async function complaints(path: string, compiler: string, compilerOptions: object, text: string): Promise<string> {
  writeFileSync(join(path, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["app.ts"] }));
  writeFileSync(join(path, "app.ts"), text);
  return run(process.execPath, [join(PACKAGE, "node_modules", compiler, "bin/tsc"), "-p", path]).then(
    () => "",
    (error) => error.stdout || String(error),
  );
}

test("an app that is strict, and knows nothing of Node or of what comes after ES2022, compiles", async () => {
  expect(await complaints(app("module"), "typescript", STRICT, STRICT_APP)).toBe("");
});

test("a strict CommonJS app compiles", async () => {
  const awaiting = STRICT_APP.replace("try {", "async function main() {\ntry {").replace(/$/, "}");
  expect(await complaints(app("commonjs"), "typescript", STRICT, awaiting)).toBe("");
});

test.each([
  ["webpack-typescript", FORGE_WEBPACK],
  ["vite-typescript", FORGE_VITE],
])("an app made by Electron Forge's template %s compiles with the template's own compiler, and runs", async (_, options) => {
  const path = app("commonjs");
  expect(await complaints(path, "typescript-4.5", options, FORGE_APP)).toBe("");
  const script = `
    const { Sidecar, SidecarError } = require("mlx-sidecar");
    const { nodeTransport } = require("mlx-sidecar/node");
    new Sidecar(nodeTransport({ command: "/no/such/worker" })).status().catch((error) => {
      console.log(error instanceof SidecarError, error.code);
    });`;
  writeFileSync(join(path, "run.js"), script);
  expect((await run(process.execPath, [join(path, "run.js")])).stdout).toBe("true worker_not_started\n");
});

test("what is packed, or installed from a folder where nothing is built, is built first", async () => {
  const copy = join(folder(), "client");
  const isKept = (file: string): boolean => !/[/\\](dist|node_modules)$/.test(file);
  cpSync(PACKAGE, copy, { recursive: true, filter: isKept });
  symlinkSync(join(PACKAGE, "node_modules"), join(copy, "node_modules"));
  const { stdout } = await run("npm", ["pack", "--dry-run", "--json"], { cwd: copy });
  const [{ files }] = JSON.parse(stdout) as [{ files: Array<{ path: string }> }];
  const built = ["dist/index.js", "dist/node.d.ts", "dist/cjs/index.js", "dist/cjs/tauri.d.ts", "dist/cjs/package.json"];
  expect(files.map(({ path }) => path)).toEqual(expect.arrayContaining(built));
});
