/** The flow on the server: loading, saving, validating, publishing, versions. The designer's only way to the REST interface. */
import { useCallback, useEffect, useMemo, useReducer, useRef, useState } from "react";
import { ApiError, readProblems, type Api, type Problem } from "../shared/http";
import { Autosave, type SaveState } from "./autosave";
import { emptyDocument, readDocument, type FlowDocument } from "./document";
import { begin, step } from "./history";

export interface Draft { name: string; document: FlowDocument }

interface FlowAnswer {
  id: string;
  name: string;
  document: unknown;
  revision: number;
  published_version: number | null;
  updated_at: string;
  updated_by: string;
}

export interface Version { number: number; published_at: string; published_by: string; note: string | null }
export interface Template { key: string; name: string; language: string; variables: { name: string; required: boolean }[] }

const VALIDATE_MS = 500;
const PAGES_AT_MOST = 20;

/** The same text for equal documents, whatever order a database keeps their keys in. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === "object" && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

export async function allPages<T>(api: Api, path: string): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < PAGES_AT_MOST; page++) {
    const joint = path.includes("?") ? "&" : "?";
    const { data }: { data: { items: T[]; next: string | null } } =
      await api("GET", cursor ? `${path}${joint}cursor=${encodeURIComponent(cursor)}` : path);
    items.push(...data.items);
    if (!data.next || data.next === cursor) break;
    cursor = data.next;
  }
  return items;
}

export function useFlow(api: Api, url: string) {
  const [history, dispatch] = useReducer(step<Draft>, null, () => begin<Draft>({ name: "", document: emptyDocument() }));
  const [loaded, setLoaded] = useState<"loading" | "ready" | ApiError>("loading");
  const [save, setSave] = useState<{ state: SaveState; reason: string }>({ state: "saved", reason: "" });
  const [problems, setProblems] = useState<Problem[]>([]);
  const [published, setPublished] = useState<{ number: number; text: string | null } | null>(null);
  const [savedBy, setSavedBy] = useState<{ at: string; by: string } | null>(null);
  const etag = useRef<string | null>(null);
  const untouched = useRef<Draft>(history.present);
  const draft = history.present;

  const note = useCallback((answer: FlowAnswer, tag: string | null) => {
    etag.current = tag ?? `"${answer.revision}"`;
    setSavedBy({ at: answer.updated_at, by: answer.updated_by });
    return answer;
  }, []);

  const autosave = useMemo(
    () =>
      new Autosave<Draft>(
        async (value) => {
          const { data, etag: tag } = await api<FlowAnswer>("PUT", url, { body: value, ifMatch: etag.current });
          note(data, tag);
        },
        (state, reason) => setSave({ state, reason }),
      ),
    [api, url, note],
  );

  const load = useCallback(async () => {
    try {
      const { data, etag: tag } = await api<FlowAnswer>("GET", url);
      note(data, tag);
      const fresh = { name: data.name, document: readDocument(data.document) };
      autosave.discard();
      untouched.current = fresh;
      dispatch({ type: "reset", value: fresh });
      setPublished(data.published_version === null ? null : { number: data.published_version, text: null });
      setLoaded("ready");
    } catch (error) {
      setLoaded(error instanceof ApiError ? error : new ApiError(0, String(error)));
    }
  }, [api, url, note, autosave]);

  useEffect(() => void load(), [load]);

  useEffect(() => {
    if (draft === untouched.current) return;
    untouched.current = draft;
    autosave.push(draft);
  }, [draft, autosave]);

  useEffect(() => {
    const guard = (event: BeforeUnloadEvent) => {
      if (autosave.dirty) event.preventDefault();
    };
    const hurry = () => {
      if (document.hidden && autosave.dirty) void autosave.flush();
    };
    window.addEventListener("beforeunload", guard);
    document.addEventListener("visibilitychange", hurry);
    return () => {
      window.removeEventListener("beforeunload", guard);
      document.removeEventListener("visibilitychange", hurry);
    };
  }, [autosave]);

  // Asked while typing, and again once saved: a server may look at the stored draft only.
  const { document: flowDocument } = draft;
  const settled = save.state === "saved";
  useEffect(() => {
    if (loaded !== "ready") return;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      api<{ problems: unknown }>("POST", `${url}/validate`, { body: { document: flowDocument }, signal: stop.signal })
        .then(({ data }) => setProblems(readProblems(data.problems)))
        .catch(() => undefined); // Validation is advice: publishing asks again and says why when it cannot.
    }, VALIDATE_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [api, url, flowDocument, loaded, settled]);

  const publishedNumber = published?.number ?? null;
  const publishedText = published?.text ?? null;
  useEffect(() => {
    if (publishedNumber === null || publishedText !== null) return;
    let live = true;
    api<{ document: unknown }>("GET", `${url}/versions/${publishedNumber}`)
      .then(({ data }) => live && setPublished({ number: publishedNumber, text: canonical(readDocument(data.document)) }))
      .catch(() => undefined);
    return () => void (live = false);
  }, [api, url, publishedNumber, publishedText]);
  const changed = useMemo(() => publishedText !== null && publishedText !== canonical(flowDocument), [publishedText, flowDocument]);

  const edit = useCallback((change: (document: FlowDocument) => FlowDocument, key?: string) => {
    dispatch({
      type: "edit", at: Date.now(), key,
      value: (present) => {
        const document = change(present.document);
        return document === present.document ? present : { ...present, document };
      },
    });
  }, []);
  const rename = useCallback((name: string) => dispatch({ type: "edit", at: Date.now(), key: "name", value: (present) => ({ ...present, name }) }), []);

  const publish = useCallback(async () => {
    if (!(await autosave.flush())) throw new ApiError(autosave.state === "conflict" ? 412 : 0, "");
    try {
      const { data } = await api<Version>("POST", `${url}/publish`, { body: {}, ifMatch: etag.current });
      setPublished({ number: data.number, text: null });
      return data;
    } catch (error) {
      if (error instanceof ApiError && error.problems.length) setProblems(error.problems.map((item) => ({ ...item, blocking: item.blocking ?? true })));
      throw error;
    }
  }, [api, url, autosave]);

  const restore = useCallback(
    async (number: number) => {
      await autosave.flush();
      const { data, etag: tag } = await api<FlowAnswer>("POST", `${url}/versions/${number}/restore`, { body: {}, ifMatch: etag.current });
      note(data, tag);
      // An edit, not a reset: undo brings the former draft back.
      const value = { name: data.name, document: readDocument(data.document) };
      autosave.discard();
      untouched.current = value;
      dispatch({ type: "edit", at: Date.now(), value });
    },
    [api, url, note, autosave],
  );

  /** After a conflict: our draft wins over what the other person saved. */
  const overwrite = useCallback(async () => {
    const { data, etag: tag } = await api<FlowAnswer>("GET", url);
    note(data, tag);
    await autosave.resume();
  }, [api, url, note, autosave]);

  return {
    draft, loaded, save, problems, published, changed, savedBy, load, edit, rename, publish, restore, overwrite,
    retry: useCallback(() => autosave.resume(), [autosave]),
    undo: useCallback(() => dispatch({ type: "undo" }), []),
    redo: useCallback(() => dispatch({ type: "redo" }), []),
    canUndo: history.past.length > 0, canRedo: history.future.length > 0,
  };
}
export type FlowStore = ReturnType<typeof useFlow>;
