import { defineConfig } from "vite";

// Built into the aggregator's package; the same sources give the same files.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../aggregator/coeval_aggregator/page",
    emptyOutDir: true,
    target: "es2022",
    chunkSizeWarningLimit: 1000,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/mqtt": { target: "ws://127.0.0.1:8787", ws: true }, "/v1": "http://127.0.0.1:8787", "/page.json": "http://127.0.0.1:8787" } },
});
