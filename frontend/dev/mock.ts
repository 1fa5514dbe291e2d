/**
 * A stand-in for the server, for `npm run dev` and the smoke test: the pages, the REST contract, a small flow runner.
 *
 * In `vite preview` the built bundles are served under the product's Content-Security-Policy, so a breach shows here first.
 */
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { Connect, Plugin } from "vite";
import { answer, reset } from "./api";
import { page, type PageName } from "./pages";

interface ManifestEntry { file: string; name?: string; isEntry?: boolean; css?: string[]; imports?: string[] }

const CSP = "default-src 'self'; script-src 'self' 'nonce-dev'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'";

export function mockServer(): Plugin {
  return {
    name: "mock-server",
    configureServer(server) {
      server.middlewares.use(async (request, response, next) => {
        const name = pageOf(request);
        if (!name) return serveApi(request, response, next);
        const entries = entriesOf(name).map((entry) => `<script type="module" src="/src/${entry}/index.${entry === "designer" || entry === "chat" ? "tsx" : "ts"}"></script>`);
        const html = await server.transformIndexHtml(request.url ?? "/", page(name, queryOf(request), entries.join("\n")));
        response.setHeader("Content-Type", "text/html; charset=utf-8");
        response.end(html);
      });
    },
    configurePreviewServer(server) {
      const root = server.config.build.outDir;
      server.middlewares.use((request, response, next) => {
        const name = pageOf(request);
        if (!name) return serveApi(request, response, next);
        const manifest = JSON.parse(readFileSync(join(root, ".vite/manifest.json"), "utf8")) as Record<string, ManifestEntry>;
        response.setHeader("Content-Type", "text/html; charset=utf-8");
        response.setHeader("Content-Security-Policy", CSP);
        response.end(page(name, queryOf(request), entriesOf(name).map((entry) => tags(manifest, entry)).join("\n")));
      });
    },
  };
}

/** The tags of one entry: its style sheets and those of everything it imports, then its script. */
function tags(manifest: Record<string, ManifestEntry>, entry: string): string {
  const root = Object.values(manifest).find((item) => item.isEntry && item.name === entry);
  if (!root) throw new Error(`no entry ${entry}`);
  const styles = new Set<string>();
  const seen = new Set<ManifestEntry>();
  const visit = (item: ManifestEntry) => {
    if (seen.has(item)) return;
    seen.add(item);
    for (const key of item.imports ?? []) visit(manifest[key]!);
    for (const file of item.css ?? []) styles.add(file);
  };
  visit(root);
  return [...[...styles].map((file) => `<link rel="stylesheet" href="/${file}">`), `<script type="module" nonce="dev" src="/${root.file}"></script>`].join("\n");
}

function entriesOf(name: PageName): string[] {
  return name === "charts" || name === "board" || name === "chat" || name === "designer" ? ["theme", name] : ["theme"];
}

function pageOf(request: IncomingMessage): PageName | null {
  const match = /^\/dev\/(designer|chat|board|charts)(?:$|\?)/.exec(request.url ?? "");
  return match ? (match[1] as PageName) : null;
}

function queryOf(request: IncomingMessage): URLSearchParams {
  return new URL(request.url ?? "/", "http://mock").searchParams;
}

async function serveApi(request: IncomingMessage, response: ServerResponse, next: Connect.NextFunction): Promise<void> {
  const url = new URL(request.url ?? "/", "http://mock");
  if (url.pathname === "/mock/reset") {
    reset();
    return void response.end("ok");
  }
  if (!/^\/(flows|simulations|templates|simulator|leads)(\/|$)/.test(url.pathname)) return next();
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  const method = request.method ?? "GET";
  const reply = method !== "GET" && !request.headers["x-csrftoken"]
    ? { status: 400, body: { title: "no CSRF token" } }
    : method === "POST" && !request.headers["idempotency-key"]
      ? { status: 400, body: { title: "no Idempotency-Key" } }
      : answer(method, url, text ? (JSON.parse(text) as Record<string, unknown>) : {}, request.headers["if-match"]);
  response.statusCode = reply.status;
  if (reply.etag) response.setHeader("ETag", reply.etag);
  if (reply.body === undefined) return void response.end();
  response.setHeader("Content-Type", reply.status >= 400 ? "application/problem+json" : "application/json");
  response.end(JSON.stringify(reply.body));
}
