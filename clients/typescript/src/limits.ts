/** Numbers that an app gives the client: what they may be. Most of them would else become timers that fire at once. */
import { SidecarError } from "./errors.js";

/** The longest delay that timers take; a longer one fires at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

const CEILINGS = {
  restarts: Number.MAX_SAFE_INTEGER,
  healthyMs: Infinity,
  maxInFlight: Number.MAX_SAFE_INTEGER,
  maxLineBytes: Number.MAX_SAFE_INTEGER,
};
const FLOORS = { restarts: 0, healthyMs: 0, maxInFlight: 1, maxLineBytes: 1 };

type Numbers = { readonly [name in keyof typeof FLOORS]?: number } & { readonly backoffMs?: readonly number[] };

/** Throws a RangeError that names the option. */
export function checkOptions(options: Numbers): void {
  for (const name of Object.keys(FLOORS) as Array<keyof typeof FLOORS>) {
    const value = options[name];
    if (value !== undefined) check(name, value, FLOORS[name], CEILINGS[name]);
  }
  for (const wait of options.backoffMs ?? []) check("backoffMs", wait, 0, LONGEST_TIMER_MS);
}

/** Throws a SidecarError, for the call to reject with. */
export function checkTimeout(timeoutMs: number | undefined): void {
  if (timeoutMs === undefined || timeoutMs > 0) return;
  const message = `timeoutMs: expected more than 0 milliseconds, got ${timeoutMs}; leave it out for no limit`;
  throw new SidecarError(message, "invalid_params", false);
}

/** Whether the time is one to be kept. */
export function isLimit(timeoutMs: number | undefined): timeoutMs is number {
  return timeoutMs !== undefined && timeoutMs !== Infinity;
}

/** Closing never fails: a grace that is none counts as 0, an endless one as long as a timer takes. */
export function graceWithin(graceMs: number): number {
  return graceMs > 0 ? Math.min(graceMs, LONGEST_TIMER_MS / 2) : 0;
}

function check(name: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new RangeError(`${name}: expected a number of at least ${least}, got ${value}`);
}
