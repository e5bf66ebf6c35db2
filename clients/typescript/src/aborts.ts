/** One listener for each signal, however many calls it is given to: Node warns of a leak at the eleventh. */
export class Aborts {
  readonly #watched = new Map<AbortSignal, { readonly callbacks: Set<() => void>; readonly listener: () => void }>();

  /** Calls back when the signal is aborted; what it returns ends that. */
  watch(signal: AbortSignal, callback: () => void): () => void {
    const { callbacks } = this.#watched.get(signal) ?? this.#listen(signal);
    callbacks.add(callback);
    return () => {
      callbacks.delete(callback);
      if (callbacks.size === 0) this.#leave(signal);
    };
  }

  #listen(signal: AbortSignal): { readonly callbacks: Set<() => void> } {
    const callbacks = new Set<() => void>();
    const listener = (): void => callbacks.forEach((callback) => callback());
    signal.addEventListener("abort", listener, { once: true });
    this.#watched.set(signal, { callbacks, listener });
    return { callbacks };
  }

  #leave(signal: AbortSignal): void {
    const watched = this.#watched.get(signal);
    if (watched) signal.removeEventListener("abort", watched.listener);
    this.#watched.delete(signal);
  }
}
