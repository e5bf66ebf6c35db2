import { defineConfig } from "vite";

export default defineConfig({
  clearScreen: false,
  server: { port: 1420, strictPort: true, fs: { allow: ["..", "../../clients/typescript"] } },
  // The client is a link into the checkout; what it imports is this app's.
  resolve: { dedupe: ["@tauri-apps/api", "@tauri-apps/plugin-shell"] },
  build: { target: "safari16.4", outDir: "dist" },
});
