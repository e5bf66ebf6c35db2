/** A request to its line, such that the worker can read whose it is: what it couldn't read would fail everybody's calls. */
import { SidecarError } from "./errors.js";

/** As deep as the worker reads JSON. */
const MOST_LEVELS = 1024;

/** Raises SidecarError where the worker wouldn't take the line. */
export function lineOf(request: object, maxBytes: number): string {
  checkValue(request, [], MOST_LEVELS);
  const line = `${wellFormed(written(request))}\n`;
  // One UTF-16 unit is at most three bytes; only a long line is measured.
  if (line.length * 3 > maxBytes && new TextEncoder().encode(line).length - 1 > maxBytes) {
    throw new SidecarError(`the request has more than ${maxBytes} bytes`, "message_too_large", false);
  }
  return line;
}

/** JSON would turn these numbers into null, and the worker would complain of a null that nobody wrote. */
function checkValue(value: unknown, path: readonly string[], levels: number): void {
  if (typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value))) {
    throw new SidecarError(`${path.join(".")}: ${String(value)} (${typeof value}) can't be written as JSON; give a finite number`, "invalid_params", false);
  }
  if (typeof value !== "object" || value === null) return;
  if (levels <= 0) throw new SidecarError(`the request is nested deeper than ${MOST_LEVELS}`, "invalid_params", false);
  for (const [name, each] of Object.entries(value)) checkValue(each, [...path, name], levels - 1);
}

/** A `toJSON` of the caller's may throw anything. */
function written(request: object): string {
  try {
    return JSON.stringify(request);
  } catch (cause) {
    throw new SidecarError(`the request can't be written as JSON: ${cause}`, "invalid_params", false, {}, { cause });
  }
}

/** Half a surrogate pair isn't text, in a name no more than in a value; JSON.stringify writes it as an escape. */
function wellFormed(json: string): string {
  if (!json.includes("\\ud")) return json;
  return json.replace(/\\(?:ud[0-9a-f]{3}|.)/g, (escape) => (escape.length > 2 ? "\uFFFD" : escape));
}
