/// <reference types="vitest/config" />
import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  // Relative addresses, so that the bundles work under whatever prefix the application serves its static files from.
  base: "./",
  plugins: [react()],
  publicDir: false,
  build: {
    outDir: here("../app/admin/static/build"),
    emptyOutDir: true,
    manifest: true,
    // The notices that the libraries' licences ask for, beside the bundles.
    license: true,
    // `font-src 'self'` refuses fonts inlined as data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    chunkSizeWarningLimit: 600,
    rolldownOptions: {
      input: {
        theme: here("src/theme/index.ts"),
        charts: here("src/charts/index.ts"),
        board: here("src/board/index.ts"),
        designer: here("src/designer/index.tsx"),
        chat: here("src/chat/index.tsx"),
      },
    },
  },
  test: { include: ["tests/**/*.test.{ts,tsx}"], environment: "node" },
});
