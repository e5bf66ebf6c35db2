/** A request to its line, such that the worker can read whose it is: what it couldn't read would fail everybody's calls. */
import { SidecarError } from "./errors.js";

/** As deep as the worker reads JSON. */
const MOST_LEVELS = 1024;

/** Raises SidecarError where the worker wouldn't take the line. */
export function lineOf(request: object, maxBytes: number): string {
  if (!isWithin(MOST_LEVELS, request)) {
    throw new SidecarError(`the request is nested deeper than ${MOST_LEVELS}`, "invalid_params", false);
  }
  const line = `${wellFormed(JSON.stringify(request))}\n`;
  // One UTF-16 unit is at most three bytes; only a long line is measured.
  if (line.length * 3 > maxBytes && new TextEncoder().encode(line).length - 1 > maxBytes) {
    throw new SidecarError(`the request has more than ${maxBytes} bytes`, "message_too_large", false);
  }
  return line;
}

function isWithin(levels: number, value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  return levels > 0 && Object.values(value).every((each) => isWithin(levels - 1, each));
}

/** Half a surrogate pair isn't text, in a name no more than in a value; JSON.stringify writes it as an escape. */
function wellFormed(json: string): string {
  if (!json.includes("\\ud")) return json;
  return json.replace(/\\(?:ud[0-9a-f]{3}|.)/g, (escape) => (escape.length > 2 ? "\uFFFD" : escape));
}
