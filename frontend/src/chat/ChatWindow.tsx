/** The phone: a conversation as the contact sees it. It knows nothing of where messages come from. */
import { Bot, Check, CheckCheck, CircleAlert, Clock3, SendHorizontal } from "lucide-react";
import { useEffect, useLayoutEffect, useRef, useState, type FormEvent, type ReactNode } from "react";
import { useLanguage } from "../i18n/react";
import { timeZone } from "../shared/zone";
import { rich } from "./rich";
import "../shared/tokens.css";
import "./chat.css";

export interface ChatChoice { id: string; label: string }

/** One line of the conversation: a bubble of either side, or a note between them (an effect, a hint). */
export type ChatItem =
  | { key: string; kind: "bubble"; side: "me" | "bot"; text: string; choices?: ChatChoice[]; status?: string | null; at?: string | null }
  | { key: string; kind: "note"; tone: "lead" | "mail" | "human" | "end" | "info" | "error"; title: string; details?: [string, string][] };

interface Props {
  title: string;
  subtitle: string;
  items: ChatItem[];
  typing: boolean;
  disabled?: boolean;
  placeholder?: string;
  empty?: ReactNode;
  actions?: ReactNode;
  onSend: (text: string) => void;
  onChoose: (choice: ChatChoice) => void;
}

export function ChatWindow(props: Props) {
  const { t } = useLanguage();
  const [draft, setDraft] = useState("");
  const log = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const atEnd = useRef(true);

  useLayoutEffect(() => {
    const box = log.current;
    if (box && atEnd.current) box.scrollTop = box.scrollHeight;
  }, [props.items, props.typing]);

  useEffect(() => {
    const area = input.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, 120)}px`;
  }, [draft]);

  const send = (event?: FormEvent) => {
    event?.preventDefault();
    const text = draft.trim();
    if (!text || props.disabled) return;
    atEnd.current = true;
    setDraft("");
    props.onSend(text);
  };

  const lastAnswered = props.items.findLastIndex((item) => item.kind === "bubble" && item.side === "me");
  return (
    <section className="ch" aria-label={props.title}>
      <header className="ch-head">
        <span className="ch-avatar" aria-hidden="true"><Bot size={20} /></span>
        <div className="ch-who">
          <strong>{props.title}</strong>
          <span>{props.typing ? t("chat.typing") : props.subtitle}</span>
        </div>
        <div className="ch-actions">{props.actions}</div>
      </header>
      <div
        className="ch-log" ref={log} role="log" aria-live="polite" aria-label={t("chat.log")} tabIndex={0}
        onScroll={(event) => {
          const box = event.currentTarget;
          atEnd.current = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
        }}
      >
        {props.items.length === 0 && !props.typing && <div className="ch-empty">{props.empty}</div>}
        {props.items.map((item, index) =>
          item.kind === "note" ? (
            <Note key={item.key} item={item} />
          ) : (
            <div key={item.key} className={`ch-row ch-row--${item.side}`}>
              <div className={`ch-bubble ch-bubble--${item.side}`}>
                <span className="ch-sr">{item.side === "me" ? t("chat.you") : props.title}: </span>
                <p>{rich(item.text)}</p>
                {(item.at || item.status) && <Stamp at={item.at} status={item.status} side={item.side} />}
              </div>
              {!!item.choices?.length && (
                <div className="ch-choices" role="group" aria-label={t("chat.choices")}>
                  {item.choices.map((choice) => (
                    <button key={choice.id} type="button" disabled={props.disabled || index < lastAnswered} onClick={() => { atEnd.current = true; props.onChoose(choice); }}>
                      {choice.label || choice.id}
                    </button>
                  ))}
                </div>
              )}
            </div>
          ),
        )}
        {props.typing && (
          <div className="ch-row ch-row--bot" aria-hidden="true">
            <div className="ch-bubble ch-bubble--bot ch-typing"><i /><i /><i /></div>
          </div>
        )}
      </div>
      <form className="ch-form" onSubmit={send}>
        <textarea
          ref={input} rows={1} value={draft} disabled={props.disabled} maxLength={4096}
          placeholder={props.placeholder ?? t("chat.placeholder")} aria-label={t("chat.placeholder")}
          onChange={(event) => setDraft(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) send(event);
          }}
        />
        <button type="submit" disabled={props.disabled || !draft.trim()} aria-label={t("chat.send")}><SendHorizontal size={19} /></button>
      </form>
    </section>
  );
}

function Stamp({ at, status, side }: { at?: string | null; status?: string | null; side: "me" | "bot" }) {
  const { locale, t } = useLanguage();
  const time = at ? new Date(at) : null;
  return (
    <span className="ch-stamp">
      {time && !Number.isNaN(time.getTime()) && <time dateTime={at!}>{time.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", timeZone: timeZone() })}</time>}
      {side === "me" && status === "sending" && <Clock3 size={13} aria-label={t("chat.sending")} />}
      {side === "me" && status === "failed" && <CircleAlert size={13} aria-label={t("chat.failed")} />}
      {side === "me" && status === "sent" && <Check size={14} aria-label={t("chat.sent")} />}
      {side === "me" && (status === "delivered" || status === "received" || status === "read") && (
        <CheckCheck size={14} className={status === "read" ? "ch-read" : ""} aria-label={t("chat.received")} />
      )}
    </span>
  );
}

function Note({ item }: { item: Extract<ChatItem, { kind: "note" }> }) {
  return (
    <div className={`ch-note ch-note--${item.tone}`}>
      <strong>{item.title}</strong>
      {!!item.details?.length && (
        <dl>
          {item.details.map(([name, value]) => (
            <div key={name}><dt>{name}</dt><dd>{value || "—"}</dd></div>
          ))}
        </dl>
      )}
    </div>
  );
}
