// Builds dist/ (ES modules) and dist/cjs/ (CommonJS, for Electron's templates and for TypeScript's old module resolution).
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = new URL("..", import.meta.url);
const COMPILER = fileURLToPath(new URL("node_modules/typescript/bin/tsc", ROOT));

rmSync(new URL("dist", ROOT), { recursive: true, force: true });
for (const project of ["tsconfig.build.json", "tsconfig.cjs.json"]) {
  execFileSync(process.execPath, [COMPILER, "-p", project], { cwd: fileURLToPath(ROOT), stdio: "inherit" });
}
writeFileSync(new URL("dist/cjs/package.json", ROOT), `${JSON.stringify({ type: "commonjs" })}\n`);
