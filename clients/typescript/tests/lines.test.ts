import { expect, test } from "vitest";
import { LineTooLong, Lines } from "../src/lines.js";
import { random } from "./random.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const all = (lines: Lines, ...chunks: Uint8Array[]): string[] => chunks.flatMap((chunk) => [...lines.push(chunk)]);

const SAMPLE = 'a\n{"ü":"€𝄞"}\n\n \u2028\u2029\u0085 \r\n\u{1F600}\nlast';
const EXPECTED = ["a", '{"ü":"€𝄞"}', "", " \u2028\u2029\u0085 \r", "\u{1F600}"];

test("a line ends at LF and nowhere else, wherever the bytes are cut in two", () => {
  const whole = bytes(SAMPLE);
  for (let cut = 0; cut <= whole.length; cut++) {
    const lines = new Lines();
    expect(all(lines, whole.subarray(0, cut), whole.subarray(cut))).toEqual(EXPECTED);
    expect(lines.last()).toBe("last");
  }
});

test("the way in which bytes are cut into chunks never changes the lines", () => {
  const next = random(7);
  const whole = bytes(SAMPLE.repeat(50));
  const expected = all(new Lines(), whole);
  for (let run = 0; run < 200; run++) {
    const chunks = [];
    for (let at = 0; at < whole.length; ) chunks.push(whole.subarray(at, (at += next(40))));
    expect(all(new Lines(), ...chunks)).toEqual(expected);
  }
});

test("a line of 5 MB in chunks of one byte is one line", () => {
  const long = `"${"ü\u2028".repeat(1_000_000)}"`;
  const whole = bytes(`${long}\nnext\n`);
  expect(whole.length).toBeGreaterThan(5_000_000);
  const lines = new Lines();
  const found: string[] = [];
  for (let at = 0; at < whole.length; at++) for (const line of lines.push(whole.subarray(at, at + 1))) found.push(line);
  expect(found.length).toBe(2);
  expect(found[0] === long && found[1] === "next").toBe(true);
});

test("bytes that a producer reuses are kept as they were", () => {
  const lines = new Lines();
  const reused = bytes("abc");
  expect([...lines.push(reused)]).toEqual([]);
  reused.fill(0x78);
  expect([...lines.push(bytes("\n"))]).toEqual(["abc"]);
});

test("a line that grows without end is an error, and takes bounded memory", () => {
  const lines = new Lines(100);
  expect(() => all(lines, bytes("x".repeat(60)), bytes("x".repeat(60)))).toThrow(LineTooLong);
});
