// Builds the client for whoever installs it from a folder or a repository, where nothing is built; npm runs this then. The
// compiler is fetched first where it isn't there: npm doesn't install what a folder that it links needs for building.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const run = (command, args) => execFileSync(command, args, { cwd: root, stdio: "inherit", shell: process.platform === "win32" });

if (!existsSync(new URL("../node_modules/typescript/bin/tsc", import.meta.url))) {
  run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
}
run("node", ["scripts/build.mjs"]);
