// All that the page gets: two functions. It has no Node, and can't reach the channels themselves.
const { contextBridge, ipcRenderer } = require("electron");

/** @type {Map<string, (progress: unknown) => void>} */
const listeners = new Map();
ipcRenderer.on("sidecar:progress", (_event, id, progress) => listeners.get(id)?.(progress));

contextBridge.exposeInMainWorld("sidecar", {
  /** @param {string} id @param {object} request @param {(progress: unknown) => void} onProgress */
  async ask(id, request, onProgress) {
    listeners.set(id, onProgress);
    try {
      return await ipcRenderer.invoke("sidecar:ask", id, request);
    } finally {
      listeners.delete(id);
    }
  },
  /** @param {string} id */
  cancel: (id) => ipcRenderer.send("sidecar:cancel", id),
});
