// The page in a browser, the real worker behind it: as a user of either app would go through it.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { CHROMIUM, showApp } from "./browser.mjs";

export const skip = CHROMIUM ? false : "there is no Chromium on this machine";
if (skip) console.error(`\n!! SKIPPED: the pages of the examples: ${skip}.\n`);

/** Takes the embedded model a good while. */
const LONG = "The harbour was quiet in the morning and full of boats at noon, said the keeper of the old lighthouse. ".repeat(3000);

const text = (page, id) => page.locator(`#${id}`).textContent();
export const shows = (page, id, words) => page.locator(`#${id}`, { hasText: words }).waitFor();

/** @param {"electron" | "tauri"} app */
export function goThrough(app) {
  describe(app, { skip }, () => {
    test("a page that is loaded anew has a worker, and there is one", async (context) => {
      const { page, close, workers } = await showApp(app);
      context.after(close);
      await shows(page, "model", "demo");
      const [first] = workers();
      await page.reload();
      await shows(page, "model", "demo");
      while (workers().length > 1) await delay(50);
      assert.equal(workers().includes(first), app === "electron"); // There it belongs to the main process.
    });

    test("tags, a streamed summary, stop; a download, cancelled and finished; another model", async (context) => {
      const { page, problems, close } = await showApp(app);
      context.after(close);
      await shows(page, "model", "demo");

      await page.click("#tags");
      await page.locator("#chips li").first().waitFor();
      assert.ok((await page.locator("#chips li").count()) <= 5);

      await page.evaluate(() => {
        window.pieces = 0;
        new MutationObserver((seen) => (window.pieces += seen.length)).observe(document.getElementById("answer"), { childList: true });
      });
      await page.click("#summary");
      await page.locator("#stop:disabled").waitFor();
      assert.match(await text(page, "answer"), /^The home team .*\.$/);
      assert.ok((await page.evaluate(() => window.pieces)) > 3, "it came in pieces");

      await page.fill("#text", LONG);
      await page.click("#summary");
      await page.click("#stop");
      await shows(page, "problem", "stopped");
      await page.fill("#text", "");
      await page.click("#tags");
      await shows(page, "problem", "content"); // The worker's own words on what is wrong.

      await page.fill("#repo", "example/nothing");
      await page.click("#download");
      await shows(page, "words", "example/nothing");
      await page.fill("#repo", "example/notes");
      await page.click("#download");
      await page.waitForFunction(() => document.querySelector("progress").value > 5);
      await page.click("#cancel");
      await shows(page, "words", "stopped");
      await page.click("#download");
      await shows(page, "words", "downloaded and verified");
      await page.click("#use");
      await shows(page, "words", "in use");
      await page.fill("#text", "A goal in the last minute won the final.");
      await page.click("#tags");
      await page.locator("#tags:enabled").waitFor();
      assert.equal(await text(page, "problem"), "");
      assert.deepEqual(problems, []);
    });
  });
}
