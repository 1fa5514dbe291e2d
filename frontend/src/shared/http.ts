/** One way to talk to our REST interface: CSRF header, idempotency keys, ETags, and problem+json turned into one error type. */

export interface Problem {
  where: string;
  code: string;
  message: string;
  blocking?: boolean;
}

/** A refused or failed request. `status` is 0 when no answer came (offline, time-out). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly problems: Problem[] = [],
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export interface Answer<T> {
  data: T;
  etag: string | null;
}

export interface RequestOptions {
  body?: unknown;
  ifMatch?: string | null;
  signal?: AbortSignal;
  /** Let the request outlive the page (a draft saved while the tab closes). */
  keepalive?: boolean;
}

/** Answers slower than this are given up: the page must say so rather than wait for ever. */
const TIMEOUT_MS = 20_000;

export type Api = <T>(method: string, path: string, options?: RequestOptions) => Promise<Answer<T>>;

export function createApi(csrf: string, fetcher: typeof fetch = (...args) => fetch(...args)): Api {
  return async function request<T>(method: string, path: string, options: RequestOptions = {}): Promise<Answer<T>> {
    const headers = new Headers({ Accept: "application/json" });
    if (method !== "GET") headers.set("X-CSRFToken", csrf);
    if (method === "POST") headers.set("Idempotency-Key", randomUuid());
    if (options.ifMatch) headers.set("If-Match", options.ifMatch);
    let body: string | undefined;
    if (options.body !== undefined) {
      headers.set("Content-Type", "application/json");
      body = JSON.stringify(options.body);
    }
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
    let response: Response;
    try {
      response = await fetcher(path, { method, headers, body, signal, credentials: "same-origin", keepalive: options.keepalive });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError(0, "");
    }
    if (!response.ok) throw await toError(response);
    const etag = response.headers.get("ETag");
    if (response.status === 204 || response.status === 205) return { data: undefined as T, etag };
    const type = response.headers.get("Content-Type") ?? "";
    if (!type.includes("json")) {
      // A session that ended is answered by the login page (200, HTML) after a redirect.
      if (response.redirected || type.includes("html")) throw new ApiError(401, "");
      return { data: undefined as T, etag };
    }
    return { data: (await response.json()) as T, etag };
  };
}

async function toError(response: Response): Promise<ApiError> {
  let title = "";
  let problems: Problem[] = [];
  if ((response.headers.get("Content-Type") ?? "").includes("json")) {
    try {
      const body = (await response.json()) as { title?: unknown; detail?: unknown; errors?: unknown };
      title = String(body.detail ?? body.title ?? "");
      problems = readProblems(body.errors);
    } catch {
      // A broken body leaves the status, which says enough.
    }
  }
  return new ApiError(response.status, title, problems);
}

/** Problems from an answer, dropping whatever does not look like one. */
export function readProblems(value: unknown): Problem[] {
  if (!Array.isArray(value)) return [];
  return value.filter(isRecord).map((item) => ({
    where: String(item.where ?? ""),
    code: String(item.code ?? ""),
    message: String(item.message ?? item.code ?? ""),
    blocking: typeof item.blocking === "boolean" ? item.blocking : !String(item.code ?? "").startsWith("warning_"),
  }));
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A UUID also where `crypto.randomUUID` is missing: it exists on https and localhost only. */
export function randomUuid(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
