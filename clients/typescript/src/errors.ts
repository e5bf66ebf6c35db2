import type { ErrorCode, ErrorLine } from "./protocol.js";

/**
 * What the client itself has to say: the process ended with this request in it, it couldn't be started (or ended too
 * often to be started again), the client was closed.
 */
export type ClientErrorCode = "worker_ended" | "worker_not_started" | "client_closed";

/** Every call that fails, fails with one of these. */
export class SidecarError extends Error {
  override name = "SidecarError";
  readonly code: ErrorCode | ClientErrorCode;
  /** Whether the very same request can work later. */
  readonly retryable: boolean;
  /** What a program needs: the unfinished `text` of a cancelled request, `exit_code` and `stderr` of an ended worker … */
  readonly data: { readonly [name: string]: unknown };

  constructor(
    message: string,
    code: ErrorCode | ClientErrorCode,
    retryable: boolean,
    data: { readonly [name: string]: unknown } = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.retryable = retryable;
    this.data = data;
  }

  static fromLine(line: ErrorLine): SidecarError {
    return new SidecarError(line.error, line.code, line.retryable, line.data);
  }

  static cancelled(reason: unknown): SidecarError {
    return new SidecarError("the request was cancelled", "cancelled", true, {}, { cause: reason });
  }
}
