import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [svelte()],
  // The client and the console have to share one copy of the runtime.
  resolve: { dedupe: ["@bufbuild/protobuf"] },
  build: {
    target: "es2022",
    // Nothing inline: the page's policy forbids it.
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  server: { proxy: { "^/(heliosdb\\.metadata\\.v1\\.|metrics)": "http://127.0.0.1:9000" } },
  test: {
    // `npm run screenshots` takes the pictures of the README instead.
    include: [process.env["SCREENSHOTS"] === undefined ? "tests/**/*.test.ts" : "tests/screenshots.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } },
    fileParallelism: false,
  },
});
