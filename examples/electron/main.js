// Electron's main process: owns the worker, and answers the page.
import { app, BrowserWindow, ipcMain } from "electron";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Sidecar } from "mlx-sidecar";
import { nodeTransport } from "mlx-sidecar/node";
import { bridgeOver } from "../page/bridge.js";
import { answerPage } from "./channels.js";
import { workerPlace } from "./place.js";

const here = fileURLToPath(new URL(".", import.meta.url));

const command = workerPlace({ isPackaged: app.isPackaged, resourcesPath: process.resourcesPath });
const sidecar = new Sidecar(
  nodeTransport({ command, args: ["--model", "demo"], onStderr: (text) => process.stderr.write(text) }),
  { onWorkerEnded: (error) => console.error(error.message) },
);
answerPage(ipcMain, bridgeOver(sidecar));

app.whenReady().then(() => {
  sidecar.start(); // While the window opens.
  const window = new BrowserWindow({
    width: 780,
    height: 760,
    webPreferences: { preload: join(here, "preload.cjs"), contextIsolation: true, sandbox: true, nodeIntegration: false },
  });
  window.webContents.setWindowOpenHandler(() => ({ action: "deny" }));
  window.webContents.on("will-navigate", (event) => event.preventDefault());
  return window.loadFile(join(here, "index.html"));
});

app.on("window-all-closed", () => app.quit());

// The worker ends by itself when the app is gone; this lets it finish in good order.
let closed = false;
app.on("will-quit", (event) => {
  if (closed) return;
  event.preventDefault();
  void sidecar.close({ graceMs: 1000 }).then(() => {
    closed = true;
    app.quit();
  });
});
