// Shows an example's page in a headless Chromium, with the real worker behind it. Electron and Tauri themselves aren't
// there: `ipcMain`/`ipcRenderer` and Tauri's Rust half are played here; everything else is the example's own code.
import { execFileSync, execSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { Sidecar } from "../clients/typescript/dist/index.js";
import { nodeTransport } from "../clients/typescript/dist/node.js";
import { tauriHost } from "../clients/typescript/tests/tauri_host.mjs";
import { answerPage } from "./electron/channels.js";
import { bridgeOver } from "./page/bridge.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const repository = join(here, "..");
const bin = join(repository, ".venv/bin");
const worker = process.env.MLX_SIDECAR ?? join(bin, "mlx-sidecar");

/** Where Chromium is, or undefined. */
export const CHROMIUM = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));

const FLAGS = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** @param {"electron" | "tauri" | "tauri, shipped"} app @param {{ dark?: boolean, bytesPerS?: number }} options */
export async function showApp(app, { dark = false, bytesPerS = 4e6 } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "mlx-sidecar-page-"));
  const hub = spawn(join(bin, "python"), [join(here, "hub.py"), String(bytesPerS)], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, PYTHONPATH: repository },
  });
  const url = await new Promise((resolve) => hub.stdout.once("data", (text) => resolve(String(text).trim())));
  Object.assign(process.env, { HF_ENDPOINT: url, HF_HOME: folder, HF_HUB_OFFLINE: "0" });
  const server = createServer(serve).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const context = await chromium.launchPersistentContext(join(folder, "profile"), {
    executablePath: CHROMIUM,
    chromiumSandbox: false,
    args: FLAGS,
    colorScheme: dark ? "dark" : "light",
    viewport: { width: 780, height: 570 },
  });
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  const stop = await (app === "electron" ? playElectron(page) : playTauri(page, app === "tauri, shipped"));
  await page.goto(`http://127.0.0.1:${server.address().port}/${PAGES[app]}`);
  const close = async () => {
    await stop();
    await context.close();
    server.close();
    hub.stdin.end();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  return { page, problems, close, workers };
}

/** The pids of the workers that this process has started. */
function workers() {
  const table = execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat=,args="], { encoding: "utf8" });
  const rows = table.split("\n").map((row) => row.trim().split(/ +/));
  const found = rows.filter(([, parent, state, ...args]) => Number(parent) === process.pid && !state.startsWith("Z") && args.includes("--model"));
  return found.map(([pid]) => Number(pid));
}

/** The real preload script and the real main process's side, with a plain channel between them. */
async function playElectron(page) {
  const sidecar = new Sidecar(nodeTransport({ command: worker, args: ["--model", "demo"] }));
  const answers = new Map();
  answerPage({ handle: (name, answer) => answers.set(name, answer), on: (name, answer) => answers.set(name, answer) }, bridgeOver(sidecar));
  const sender = {
    isDestroyed: () => page.isClosed(),
    send: (...message) => void page.evaluate((sent) => window.electronHears(...sent), message).catch(() => {}),
  };
  await page.exposeFunction("electronSays", (name, ...args) => answers.get(name)({ sender }, ...args));
  const preload = readFileSync(join(here, "electron/preload.cjs"), "utf8");
  await page.addInitScript(`{
    const heard = new Map();
    window.electronHears = (name, ...args) => heard.get(name)?.({}, ...args);
    const electron = {
      contextBridge: { exposeInMainWorld: (name, api) => (window[name] = api) },
      ipcRenderer: { on: (name, hear) => heard.set(name, hear), invoke: electronSays, send: electronSays },
    };
    (function (require) { ${preload} })(() => electron);
  }`);
  return () => sidecar.close({ graceMs: 0 });
}

const SPAWN = read("tauri/src-tauri/capabilities/default.json").permissions.find(({ identifier }) => identifier === "shell:allow-spawn");

/** What the capability allows: the launcher only where `externalBin` has it, the bundle only where it is among the resources. */
function scopeOf(shipped) {
  const there = SPAWN.allow.filter(({ sidecar = false }) => sidecar !== shipped);
  return Object.fromEntries(there.map(({ name, sidecar = false }) => [name, { path: worker, sidecar }]));
}

/** The page as it is bundled, the plugin's own JavaScript in it, on the host that the client's tests use. */
async function playTauri(page, shipped) {
  const host = tauriHost(scopeOf(shipped), (channel, message) => {
    void page.evaluate(([id, sent]) => window.__TAURI_INTERNALS__.runCallback(id, sent), [channel, message]).catch(() => {});
  });
  await page.exposeFunction("hostInvoke", (command, args) =>
    command === "plugin:event|listen" ? 1 : host.invoke(command, JSON.parse(args)),
  );
  await page.addInitScript(() => {
    const callbacks = new Map();
    window.__TAURI_INTERNALS__ = {
      metadata: { currentWindow: { label: "main" }, currentWebview: { windowLabel: "main", label: "main" } },
      invoke: (command, args) => window.hostInvoke(command, JSON.stringify(args)),
      transformCallback: (callback) => (callbacks.set(callbacks.size + 1, callback), callbacks.size),
      unregisterCallback: (id) => callbacks.set(id, () => {}),
      runCallback: (id, message) => callbacks.get(id)?.(message),
    };
  });
  return async () => host.exit();
}

const KINDS = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
const PAGES = { electron: "electron/index.html", tauri: "tauri/dist/index.html", "tauri, shipped": "tauri/build/index.html" };
const TAURI = read("tauri/src-tauri/tauri.conf.json");

function read(path) {
  return JSON.parse(readFileSync(join(here, path), "utf8"));
}

/** The folder of the examples; Tauri's bundle has absolute paths, as under `tauri://localhost`, and the app's policy. */
function serve(request, response) {
  const path = normalize(new URL(request.url, "http://localhost").pathname);
  if (path === "/favicon.ico") return void response.writeHead(204).end();
  const file = [path, `tauri/dist${path}`, `tauri/build${path}`].map((each) => join(here, each)).find(existsSync);
  if (!file || !KINDS[extname(file)]) return void response.writeHead(404).end();
  const policy = path.startsWith("/tauri/") ? { "Content-Security-Policy": TAURI.app.security.csp } : {};
  response.writeHead(200, { "Content-Type": KINDS[extname(file)], ...policy }).end(readFileSync(file));
}

/** Tauri's page, for development and by the words with which a shipped one is built. */
export function build() {
  const shipped = read("tauri/src-tauri/tauri.bundle.conf.json").build.beforeBuildCommand;
  for (const command of ["npm run build --", `${shipped} --outDir build`]) {
    execSync(`${command} --logLevel error`, { cwd: join(here, "tauri"), stdio: ["ignore", "ignore", "inherit"] });
  }
}
