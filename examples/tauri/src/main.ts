// Tauri's page: owns the client, and closes it when the window closes.
import { getCurrentWindow } from "@tauri-apps/api/window";
import { Sidecar } from "mlx-sidecar";
import { tauriTransport } from "mlx-sidecar/tauri";
import { bridgeOver } from "../../page/bridge.js";
import { showPage } from "../../page/page.js";
import { rustTransport } from "./rust.js";

/** By its name in the capability: shipped (tauri.bundle.conf.json) the bundle in the app's resources, before that a launcher. */
const worker = import.meta.env.MODE === "bundle" ? { program: "mlx-sidecar" } : { sidecar: "binaries/mlx-sidecar" };

/** The page starts the worker through the plugin; or Rust does, with `VITE_WORKER=rust`. See the README for which. */
const transport =
  import.meta.env.VITE_WORKER === "rust"
    ? rustTransport()
    : tauriTransport({ ...worker, args: ["--model", "demo"], onStderr: console.warn });

const sidecar = new Sidecar(transport, { onWorkerEnded: (error) => console.error(error.message) });
sidecar.start();
void getCurrentWindow().onCloseRequested(() => sidecar.close({ graceMs: 1000 }));
showPage(bridgeOver(sidecar));
