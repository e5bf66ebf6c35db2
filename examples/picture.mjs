// Takes the pictures of the READMEs: `npm run pictures`.
import { fileURLToPath } from "node:url";
import { build, showApp } from "./browser.mjs";

build();
for (const [app, dark] of [["electron", false], ["tauri", true]]) {
  const { page, close } = await showApp(app, { dark, bytesPerS: 1e6 });
  try {
    await page.locator("#model", { hasText: "demo" }).waitFor();
    await page.fill("#repo", "example/notes");
    await page.click("#tags");
    await page.locator("#chips li").first().waitFor();
    await page.click("#summary");
    await page.locator("#stop:disabled").waitFor();
    await page.click("#download");
    await page.waitForFunction(() => document.querySelector("progress").value > 55);
    await page.mouse.move(0, 0);
    await page.evaluate(() => document.activeElement?.blur());
    await page.screenshot({ path: fileURLToPath(new URL(`${app}/screenshot.png`, import.meta.url)) });
  } finally {
    await close();
  }
}
