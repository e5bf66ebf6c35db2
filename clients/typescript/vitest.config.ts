import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 30_000,
    // Most of the work is the workers'.
    maxWorkers: 2,
    // Node speaks up when listeners pile up; a rejection that nobody handles fails the run by itself.
    onConsoleLog: (text) => !text.includes("ExperimentalWarning"),
  },
}) as unknown;
