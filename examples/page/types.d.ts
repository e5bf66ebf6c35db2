/** What the page needs of the app around it, and all that it may ask for. */
export interface Bridge {
  /** Sends a request; what comes on the way goes to `onProgress`. Never rejects. `id` is the page's own, for `cancel`. */
  ask(id: string, request: Request, onProgress: (progress: Progress) => void): Promise<Answer>;
  cancel(id: string): void;
}

export type Request =
  | { kind: "model" }
  | { kind: "tags"; content: string }
  | { kind: "summary"; content: string }
  | { kind: "download"; repo: string }
  | { kind: "use"; repo: string };

export type Progress = { delta: string } | { percent: number; words: string };

export type Answer = { ok: true; value: string | readonly string[] } | { ok: false; code: string; message: string };
