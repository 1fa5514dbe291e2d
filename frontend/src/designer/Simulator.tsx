/** "Try it": the draft, run by the real engine without telling anybody, beside the canvas that shows where it stands. */
import { RotateCcw, X } from "lucide-react";
import { useCallback, useEffect, useRef, useState } from "react";
import { ChatWindow, type ChatChoice, type ChatItem } from "../chat/ChatWindow";
import type { Translate } from "../i18n";
import { useLanguage } from "../i18n/react";
import { ApiError, isRecord, type Api } from "../shared/http";
import type { FlowDocument } from "./document";

export interface Answer {
  id: string;
  messages: { from: "bot" | "contact"; text: string; choices?: ChatChoice[] | null }[];
  effects: Record<string, unknown>[];
  node: string | null;
  status: string;
  vars: Record<string, unknown>;
}

type Draft<T> = T extends unknown ? Omit<T, "key"> : never;

interface Props {
  api: Api;
  flowUrl: string;
  simulationsUrl: string;
  document: FlowDocument;
  name: string;
  onNode: (id: string | null) => void;
  onClose: () => void;
}

export function Simulator({ api, flowUrl, simulationsUrl, document: flow, name, onNode, onClose }: Props) {
  const { t } = useLanguage();
  const [items, setItems] = useState<ChatItem[]>([]);
  const [busy, setBusy] = useState(false);
  const [session, setSession] = useState<{ id: string; status: string; document: FlowDocument; vars: Record<string, unknown> } | null>(null);
  const latest = useRef(flow);
  const run = useRef(0);
  const count = useRef(0);
  useEffect(() => {
    latest.current = flow;
  }, [flow]);

  const append = useCallback((fresh: Draft<ChatItem>[]) => {
    setItems((now) => [...now, ...fresh.map((item) => ({ ...item, key: String(count.current++) }) as ChatItem)]);
  }, []);
  const fail = useCallback(
    (error: unknown) => {
      if (error instanceof ApiError && error.problems.length) return append(error.problems.slice(0, 5).map((item) => ({ kind: "note", tone: "error", title: item.message })));
      const status = error instanceof ApiError ? error.status : 0;
      append([{ kind: "note", tone: "error", title: status === 404 ? t("try.gone") : (error instanceof Error && error.message) || t("try.failed") }]);
    },
    [append, t],
  );
  const told = useRef<Told>(NOTHING_TOLD);
  const take = useCallback(
    (whole: Answer, first: boolean) => {
      const { answer, told: now } = newsOf(first ? NOTHING_TOLD : told.current, whole);
      told.current = now;
      append([
        ...answer.messages
          .filter((message) => first || message.from === "bot") // our own line is already there
          .map((message) => ({ kind: "bubble" as const, side: message.from === "bot" ? ("bot" as const) : ("me" as const), text: message.text, choices: message.choices ?? [] })),
        ...answer.effects.map((effect) => noteOf(effect, t)).filter((note) => note !== null),
      ]);
      onNode(answer.node);
    },
    [append, onNode, t],
  );

  const start = useCallback(async () => {
    const mine = ++run.current;
    setItems([]);
    setSession(null);
    setBusy(true);
    onNode(null);
    const document = latest.current;
    try {
      const { data } = await api<Answer>("POST", `${flowUrl}/simulations`, { body: { document } });
      if (mine !== run.current) return;
      setSession({ id: data.id, status: data.status, document, vars: data.vars });
      take(data, true);
    } catch (error) {
      if (mine === run.current) fail(error);
    }
    if (mine === run.current) setBusy(false);
  }, [api, flowUrl, onNode, take, fail]);

  const forget = useCallback(() => void run.current++, []);
  useEffect(() => {
    void start();
    return forget;
  }, [start, forget]);
  const sessionId = session?.id;
  useEffect(() => {
    if (!sessionId) return;
    return () => void api("DELETE", `${simulationsUrl}/${sessionId}`, { keepalive: true }).catch(() => undefined);
  }, [api, simulationsUrl, sessionId]);
  useEffect(() => () => onNode(null), [onNode]);

  const say = async (text: string, choice?: string) => {
    if (!session || busy) return;
    const mine = run.current;
    append([{ kind: "bubble", side: "me", text, status: "read" }]);
    setBusy(true);
    try {
      const { data } = await api<Answer>("POST", `${simulationsUrl}/${session.id}/messages`, { body: choice === undefined ? { text } : { choice } });
      if (mine !== run.current) return;
      setSession({ ...session, status: data.status, vars: data.vars });
      take(data, false);
    } catch (error) {
      if (mine === run.current) fail(error);
    }
    if (mine === run.current) setBusy(false);
  };

  const stale = session !== null && session.document !== flow;
  const over = session !== null && isOver(session.status);
  const vars = Object.entries(session?.vars ?? {});
  return (
    <div className="fd-try">
      <ChatWindow
        title={name || t("try.title")} subtitle={over ? t("try.over") : t("try.dryRun")} items={items} typing={busy} disabled={!session || busy || over}
        placeholder={over ? t("try.over") : undefined} empty={t("try.empty")} onSend={(text) => void say(text)} onChoose={(choice) => void say(choice.label || choice.id, choice.id)}
        actions={
          <>
            <button type="button" aria-label={t("try.restart")} title={t("try.restart")} onClick={() => void start()}><RotateCcw size={17} /></button>
            <button type="button" aria-label={t("designer.close")} title={t("designer.close")} onClick={onClose}><X size={19} /></button>
          </>
        }
      />
      {(stale || over) && (
        <div className="fd-try-foot" role="status">
          <span>{stale ? t("try.stale") : t("try.over")}</span>
          <button type="button" className="fd-btn is-primary" onClick={() => void start()}>{t("try.again")}</button>
        </div>
      )}
      {vars.length > 0 && (
        <details className="fd-try-vars">
          <summary>{t("try.vars", { n: vars.length })}</summary>
          <dl>{vars.map(([key, value]) => <div key={key}><dt>{key}</dt><dd>{typeof value === "string" ? value : JSON.stringify(value)}</dd></div>)}</dl>
        </details>
      )}
    </div>
  );
}

interface Told { messages: Answer["messages"]; effects: number }
const NOTHING_TOLD: Told = { messages: [], effects: 0 };

/**
 * What an answer adds to what was told before. It may hold the news only, or the whole talk from its beginning: then it
 * goes on, after all that was told, with what the contact has just said.
 */
export function newsOf(told: Told, answer: Answer): { answer: Answer; told: Told } {
  const known = told.messages.length;
  const whole = known > 0 && answer.messages[known]?.from === "contact" && JSON.stringify(answer.messages.slice(0, known)) === JSON.stringify(told.messages);
  const news = whole ? { ...answer, messages: answer.messages.slice(known), effects: answer.effects.slice(told.effects) } : answer;
  return { answer: news, told: { messages: [...told.messages, ...news.messages], effects: told.effects + news.effects.length } };
}

function isOver(status: string): boolean {
  return !["active", "running", "waiting", "started"].includes(status);
}

/** An effect as a note between the bubbles; what is not worth one gives null. */
export function noteOf(effect: Record<string, unknown>, t: Translate): Draft<Extract<ChatItem, { kind: "note" }>> | null {
  const value = (key: string) => (effect[key] == null ? "" : typeof effect[key] === "string" ? effect[key] : JSON.stringify(effect[key]));
  const pairs = (key: string): [string, string][] =>
    isRecord(effect[key]) ? Object.entries(effect[key]).filter(([, item]) => item != null && item !== "").map(([name, item]) => [name, typeof item === "string" ? item : JSON.stringify(item)]) : [];
  // "CaptureLead" and "capture_lead" are one.
  switch (String(effect.kind).replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase()) {
    case "capture_lead": return { kind: "note", tone: "lead", title: t("effect.lead"), details: pairs("fields") };
    case "request_email": return { kind: "note", tone: "mail", title: t("effect.mail"), details: [[t("form.template"), value("template")], [t("form.to"), value("to")], ...pairs("variables")] };
    case "hand_over": return { kind: "note", tone: "human", title: t("effect.human"), details: value("note") ? [[t("form.note"), value("note")]] : [] };
    case "finished": return { kind: "note", tone: "end", title: t("effect.end"), details: value("outcome") ? [[t("effect.outcome"), value("outcome")]] : [] };
    case "set_timer": return { kind: "note", tone: "info", title: t("effect.timer", { n: value("minutes") }) };
    case "send_message": return null;
    default: return { kind: "note", tone: "info", title: String(effect.kind) };
  }
}
