import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { schema, typescript, withMethods } from "../scripts/protocol.mjs";

test("the types are those of the worker's own schema (else: npm run protocol)", () => {
  const written = readFileSync(new URL("../src/protocol.ts", import.meta.url), "utf8");
  expect(written).toBe(typescript(schema()));
});

test("the client has a method for each command (else: npm run protocol)", () => {
  const written = readFileSync(new URL("../src/client.ts", import.meta.url), "utf8");
  expect(written).toBe(withMethods(written, schema()));
});
