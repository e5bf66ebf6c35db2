// The bridge over the client. Runs where the client runs: in Electron's main process, in Tauri's page.
// @ts-check

/** @import { DownloadMeasure, Sidecar } from "../../clients/typescript/dist/index.js" */
/** @import { Answer, Bridge, Progress, Request } from "./types.js" */

/**
 * @param {Sidecar} sidecar
 * @returns {Bridge}
 */
export function bridgeOver(sidecar) {
  /** @type {Map<string, AbortController>} */
  const open = new Map();
  return {
    async ask(id, request, onProgress) {
      const abort = new AbortController();
      open.set(id, abort);
      try {
        return { ok: true, value: await run(sidecar, request, abort.signal, onProgress) };
      } catch (error) {
        const { code = "internal", message } = /** @type {{ code?: string, message: string }} */ (error);
        return { ok: false, code, message };
      } finally {
        open.delete(id);
      }
    },
    cancel: (id) => open.get(id)?.abort(),
  };
}

/**
 * The page chooses among these, and fills in a text or a repository; nothing else of the worker is within its reach.
 *
 * @param {Sidecar} sidecar
 * @param {Request} request
 * @param {AbortSignal} signal
 * @param {(progress: Progress) => void} onProgress
 * @returns {Promise<string | readonly string[]>}
 */
async function run(sidecar, request, signal, onProgress) {
  switch (request.kind) {
    case "model":
      return (await sidecar.modelInfo({ signal })).model_name;
    case "tags":
      return (await sidecar.generateTags({ content: request.content }, { signal })).tags;
    case "summary": {
      const stream = sidecar.summarizeStream({ content: request.content, style: "paragraph" }, { signal });
      for await (const delta of stream) onProgress({ delta });
      return (await stream.result).summary;
    }
    case "download": {
      const fetched = await sidecar.downloadModel(
        { repo_id: request.repo },
        { signal, onProgress: (measure) => onProgress({ percent: measure.progress, words: wordsFor(measure) }) },
      );
      return fetched.destination;
    }
    case "use": {
      const loaded = await sidecar.loadModel(
        { repo_id: request.repo },
        { signal, onProgress: ({ progress }) => onProgress({ percent: progress, words: "loading" }) },
      );
      return loaded.model_name;
    }
  }
}

/** @param {DownloadMeasure} measure */
function wordsFor({ downloaded_bytes, total_bytes, bytes_per_s, eta_s, stalled_s }) {
  const how = `${size(downloaded_bytes)} of ${size(total_bytes)}`;
  if (stalled_s !== undefined) return `${how}, nothing for ${Math.round(stalled_s)} s`;
  return eta_s === null ? how : `${how}, ${size(bytes_per_s)}/s, ${time(eta_s)} left`;
}

/** @param {number} bytes */
const size = (bytes) => (bytes < 1e9 ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${(bytes / 1e9).toFixed(2)} GB`);

/** @param {number} seconds */
const time = (seconds) => (seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`);
