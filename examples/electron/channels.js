// The main process's end of the three channels; the other end is preload.cjs.
// @ts-check

/** @import { Bridge, Request } from "../page/types.js" */

/**
 * @param {Pick<Electron.IpcMain, "handle" | "on">} ipc
 * @param {Bridge} bridge
 */
export function answerPage(ipc, bridge) {
  ipc.handle("sidecar:ask", (event, /** @type {string} */ id, /** @type {Request} */ request) =>
    bridge.ask(id, request, (progress) => {
      if (!event.sender.isDestroyed()) event.sender.send("sidecar:progress", id, progress);
    }),
  );
  ipc.on("sidecar:cancel", (_event, /** @type {string} */ id) => bridge.cancel(id));
}
