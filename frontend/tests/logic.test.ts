import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { demo } from "../dev/demo";
import { Conversation } from "../src/chat/conversation";
import { Autosave, type SaveState } from "../src/designer/autosave";
import { readDocument } from "../src/designer/document";
import { canonical } from "../src/designer/flow";
import { begin, step, type Step } from "../src/designer/history";
import { arrange, heightOf, layersOf } from "../src/designer/layout";
import { nodeOf } from "../src/designer/panel/ProblemsPanel";
import { newsOf, type Answer } from "../src/designer/Simulator";
import { dictionaries, localeOf, translator } from "../src/i18n";
import { ApiError, createApi, randomUuid, readProblems, type Api } from "../src/shared/http";

describe("languages", () => {
  it("has the same keys, none blank, with the same places", () => {
    const places = (text: string) => [...text.matchAll(/(?<!\{)\{(\w+)\}(?!\})/g)].map((match) => match[1]).sort();
    expect(Object.keys(dictionaries.es).sort()).toEqual(Object.keys(dictionaries.en).sort());
    for (const [key, text] of Object.entries(dictionaries.en)) {
      const other = dictionaries.es[key as keyof typeof dictionaries.en];
      expect(other.trim(), key).not.toBe("");
      expect(places(other), key).toEqual(places(text));
    }
  });
  it("fills places and keeps unknown ones", () => {
    expect(translator("en")("designer.published", { n: 3 })).toBe("Published v3");
    expect(localeOf("en-US")).toBe("en");
    expect(localeOf(undefined)).toBe("es");
  });
});

describe("history", () => {
  const run = (...steps: Step<number>[]) => steps.reduce((history, action) => step(history, action), begin(0));
  it("goes back and forth", () => {
    const history = run({ type: "edit", value: 1, at: 0 }, { type: "edit", value: 2, at: 1 }, { type: "undo" });
    expect(history.present).toBe(1);
    expect(step(history, { type: "redo" }).present).toBe(2);
    expect(step(history, { type: "edit", value: 9, at: 2 }).future).toEqual([]);
  });
  it("takes typing in one field as one step", () => {
    const history = run({ type: "edit", value: 1, key: "a", at: 0 }, { type: "edit", value: 2, key: "a", at: 500 }, { type: "edit", value: 3, key: "b", at: 600 });
    expect(history.past).toEqual([0, 2]);
  });
  it("notes nothing where nothing changed", () => expect(run({ type: "edit", value: 0, at: 0 }).past).toEqual([]));
});

describe("layout", () => {
  const flow = readDocument(demo);
  it("puts every node to the right of those before it, and none on another", () => {
    const nodes = arrange(flow).nodes;
    const at = (id: string) => nodes.find((node) => node.id === id)!.position;
    expect(at("interest").x).toBeGreaterThan(at("greet").x);
    expect(at("bye").x).toBeGreaterThan(at("thanks").x);
    for (const a of nodes) for (const b of nodes) if (a.id < b.id && a.position.x === b.position.x) {
      const [upper, lower] = a.position.y < b.position.y ? [a, b] : [b, a];
      expect(lower.position.y).toBeGreaterThanOrEqual(upper.position.y + heightOf(upper));
    }
  });
  it("ends on circles, self-references and islands", () => {
    const node = (id: string, next: string | null) => ({ id, type: "send_text", exits: { next } });
    const odd = readDocument({ start: "a", nodes: [node("a", "b"), node("b", "a"), node("c", "c"), node("d", null)] });
    expect(layersOf(odd).flat()).toHaveLength(4);
    expect(arrange(odd).nodes.every((item) => Number.isFinite(item.position.x + item.position.y))).toBe(true);
  });
  it("arranges a thousand nodes in a row", () => {
    const nodes = Array.from({ length: 1000 }, (_, n) => ({ id: `n${n}`, type: "send_text", exits: { next: `n${n + 1}` } }));
    expect(layersOf(readDocument({ start: "n0", nodes }))).toHaveLength(1000);
  });
});

describe("autosave", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const setUp = (save: (value: string) => Promise<void>) => {
    const states: SaveState[] = [];
    return { states, autosave: new Autosave<string>(save, (state) => states.push(state)) };
  };
  it("saves the newest value once the author pauses", async () => {
    const saved: string[] = [];
    const { autosave, states } = setUp(async (value) => void saved.push(value));
    autosave.push("a");
    autosave.push("ab");
    expect(autosave.dirty).toBe(true);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(saved).toEqual(["ab"]);
    expect(states.at(-1)).toBe("saved");
    expect(autosave.dirty).toBe(false);
  });
  it("never has two requests under way", async () => {
    let open = 0;
    const { autosave } = setUp(async () => {
      expect(++open).toBe(1);
      await new Promise((done) => setTimeout(done, 3_000));
      open--;
    });
    autosave.push("a");
    await vi.advanceTimersByTimeAsync(1_500);
    autosave.push("b");
    await vi.advanceTimersByTimeAsync(20_000);
    expect(autosave.dirty).toBe(false);
  });
  it("stops at a conflict until somebody decides", async () => {
    let refuse = true;
    const saved: string[] = [];
    const { autosave, states } = setUp(async (value) => {
      if (refuse) throw new ApiError(412, "");
      saved.push(value);
    });
    autosave.push("a");
    await vi.advanceTimersByTimeAsync(1_000);
    autosave.push("b");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(states.at(-1)).toBe("conflict");
    refuse = false;
    expect(await autosave.resume()).toBe(true);
    expect(saved).toEqual(["b"]);
  });
  it("tries again when the server comes back", async () => {
    let tries = 0;
    const { autosave, states } = setUp(async () => {
      if (++tries < 3) throw new ApiError(tries === 1 ? 0 : 503, "");
    });
    autosave.push("a");
    await vi.advanceTimersByTimeAsync(30_000);
    expect(tries).toBe(3);
    expect(states).toContain("offline");
    expect(states.at(-1)).toBe("saved");
  });
});

describe("requests", () => {
  const answering = (...answers: Response[]) => {
    const calls: [string, RequestInit][] = [];
    const api = createApi("token", (async (path: string, init: RequestInit) => {
      calls.push([path, init]);
      return answers.shift()!;
    }) as typeof fetch);
    return { api, calls };
  };
  it("carry the token, a fresh key per POST, and the ETag", async () => {
    const { api, calls } = answering(Response.json({ a: 1 }, { headers: { ETag: '"2"' } }), new Response(null, { status: 204 }));
    expect(await api("POST", "/x", { body: {} })).toEqual({ data: { a: 1 }, etag: '"2"' });
    await api("PUT", "/x", { body: {}, ifMatch: '"2"' });
    const [post, put] = calls.map(([, init]) => init.headers as Headers);
    expect(post!.get("X-CSRFToken")).toBe("token");
    expect(post!.get("Idempotency-Key")).toMatch(/^[0-9a-f-]{36}$/);
    expect(put!.get("Idempotency-Key")).toBeNull();
    expect(put!.get("If-Match")).toBe('"2"');
  });
  it("turn problem+json into one error with all problems", async () => {
    const body = JSON.stringify({ title: "No", errors: [{ where: "a", code: "warning_x", message: "m" }, 5] });
    const { api } = answering(new Response(body, { status: 422, headers: { "Content-Type": "application/problem+json" } }));
    await expect(api("POST", "/x")).rejects.toMatchObject({ status: 422, message: "No", problems: [{ where: "a", message: "m", blocking: false }] });
  });
  it("take a login page for the end of the session", async () => {
    const { api } = answering(new Response("<html>", { headers: { "Content-Type": "text/html" } }));
    await expect(api("GET", "/x")).rejects.toMatchObject({ status: 401 });
  });
  it("read only what looks like problems", () => expect(readProblems({ a: 1 })).toEqual([]));
  it("make their own ids on plain http", () => expect(randomUuid()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/));
  it("know a node by its id or by a pointer into it", () => {
    expect(nodeOf({ where: "ask_1/text", code: "", message: "" })).toBe("ask_1");
    expect(nodeOf({ where: "/start", code: "", message: "" })).toBe("");
  });
  it("compare documents whatever the order of their keys", () => expect(canonical({ b: [{ d: 1, c: 2 }], a: 1 })).toBe(canonical({ a: 1, b: [{ c: 2, d: 1 }] })));
});

describe("try-out", () => {
  const answer = (messages: Answer["messages"], effects: Answer["effects"] = []): Answer => ({ id: "1", messages, effects, node: null, status: "waiting", vars: {} });
  const ask: Answer["messages"][number] = { from: "bot", text: "?", choices: [] };
  const say: Answer["messages"][number] = { from: "contact", text: "x", choices: [] };
  const first = newsOf({ messages: [], effects: 0 }, answer([ask], [{ kind: "set_timer" }]));
  it("takes the news out of the whole talk", () => {
    const { answer: news, told } = newsOf(first.told, answer([ask, say, ask], [{ kind: "set_timer" }, { kind: "finished" }]));
    expect(news.messages).toEqual([say, ask]);
    expect(news.effects).toEqual([{ kind: "finished" }]);
    expect(told.messages).toHaveLength(3);
  });
  it("takes an answer of news only as it is, even when the question is the same", () => {
    expect(newsOf(first.told, answer([say, ask])).answer.messages).toEqual([say, ask]);
    expect(newsOf(first.told, answer([ask])).answer.messages).toEqual([ask]);
  });
});

describe("chat", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  it("polls while it waits, shows each line once and stops for a hidden tab", async () => {
    const lines: unknown[] = [];
    let polls = 0;
    let hidden = false;
    const line = (direction: string, text: string) => lines.push({ id: String(lines.length), direction, text, choices: [], status: "sent", at: null });
    const api = (async (method: string, path: string, options?: { body?: { text?: string } }) => {
      if (path === "/s/chats") return { data: { id: "c" }, etag: null };
      if (method === "POST") return line("in", options?.body?.text ?? ""), { data: undefined, etag: null };
      polls++;
      const after = Number(new URL(path, "http://x").searchParams.get("after") ?? 0);
      return { data: { items: lines.slice(after), next: String(lines.length) }, etag: null };
    }) as Api;
    const chat = new Conversation(api, "/s", () => undefined, () => Date.now(), () => hidden);
    await chat.open("channel");
    await chat.send("hola");
    expect(chat.state).toMatchObject({ typing: true, waiting: [] });
    line("out", "¡hola!");
    await vi.advanceTimersByTimeAsync(800);
    expect(chat.state.messages.map((message) => message.text)).toEqual(["hola", "¡hola!"]);
    expect(chat.state.typing).toBe(false);
    hidden = true;
    await vi.advanceTimersByTimeAsync(10_000);
    const before = polls;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(polls).toBe(before);
    chat.stop();
  });
  it("keeps a line that was not taken, and says so", async () => {
    const api = (async (method: string, path: string) => {
      if (method === "POST" && path !== "/s/chats") throw new ApiError(503, "");
      return { data: path === "/s/chats" ? { id: "c" } : { items: [], next: "0" }, etag: null };
    }) as Api;
    const chat = new Conversation(api, "/s", () => undefined, () => Date.now(), () => false);
    await chat.open("channel");
    await chat.send("hola");
    expect(chat.state.waiting).toMatchObject([{ text: "hola", failed: true }]);
    expect(chat.state.error).toBe("offline");
    chat.stop();
  });
});
