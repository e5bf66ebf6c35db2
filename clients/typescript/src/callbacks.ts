/**
 * Calls a function of the app's that belongs to no call. What it throws goes where an app's uncaught errors go, and stops
 * nothing that is under way here.
 */
export function callBack(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
