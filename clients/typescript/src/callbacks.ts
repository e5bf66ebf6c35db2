/**
 * Calls a callback of the app that belongs to no call. What it throws becomes an uncaught error of the app, and stops
 * nothing here.
 */
export function invokeUserCallback(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
