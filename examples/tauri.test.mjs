import assert from "node:assert/strict";
import { before, test } from "node:test";
import { build, showApp } from "./browser.mjs";
import { goThrough, shows, skip } from "./page.mjs";

before(() => skip || build());

goThrough("tauri");

test("the page of an app that is shipped starts the program that the capability names", { skip }, async (context) => {
  const { page, problems, close } = await showApp("tauri, shipped");
  context.after(close);
  await shows(page, "model", "demo");
  assert.deepEqual(problems, []);
});
