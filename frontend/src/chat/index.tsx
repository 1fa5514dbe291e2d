/** The simulator's page: `<div id="chat" data-api data-csrf data-locale data-channels|data-channel-id>`. */
import { RotateCcw } from "lucide-react";
import { StrictMode, useCallback, useEffect, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";
import { localeOf, translator } from "../i18n";
import { LanguageContext, useLanguage } from "../i18n/react";
import { createApi, isRecord, type Api } from "../shared/http";
import { ChatWindow, type ChatItem } from "./ChatWindow";
import { Conversation, type ChatState } from "./conversation";

interface Channel { id: string; name: string }

function ChatPage({ api, base, channels }: { api: Api; base: string; channels: Channel[] }) {
  const { t } = useLanguage();
  const [state, setState] = useState<ChatState | null>(null);
  const [channelId, setChannelId] = useState(channels[0]?.id ?? "");
  const [name, setName] = useState("");
  const [phone, setPhone] = useState("");
  const conversation = useMemo(() => new Conversation(api, base, setState), [api, base]);
  const channel = channels.find((item) => item.id === channelId);
  const memory = `embudo.chat.${channelId}`;

  const restart = useCallback(async () => {
    sessionStorage.removeItem(memory);
    await conversation.close();
    if (channelId) await conversation.open(channelId, { ...(name.trim() && { name: name.trim() }), ...(phone.trim() && { phone: phone.trim() }) });
  }, [conversation, channelId, name, phone, memory]);

  useEffect(() => {
    if (!channelId) return;
    const remembered = sessionStorage.getItem(`embudo.chat.${channelId}`);
    if (remembered) {
      void conversation.resume(remembered).then(() => {
        if (conversation.state.error === "gone") void conversation.open(channelId);
      });
    } else void conversation.open(channelId);
    const wake = () => conversation.wake();
    document.addEventListener("visibilitychange", wake);
    return () => {
      document.removeEventListener("visibilitychange", wake);
      conversation.stop();
    };
  }, [conversation, channelId]);

  useEffect(() => {
    if (state?.id) sessionStorage.setItem(memory, state.id);
  }, [state?.id, memory]);

  const items: ChatItem[] = (state?.messages ?? []).map((message) => ({
    key: message.id, kind: "bubble", side: message.direction === "in" ? "me" : "bot", text: message.text,
    choices: message.choices ?? [], status: message.direction === "in" ? (message.status ?? "read") : message.status, at: message.at,
  }));
  for (const item of state?.waiting ?? []) {
    items.push({ key: item.key, kind: "bubble", side: "me", text: item.text, status: item.failed ? "failed" : "sending" });
  }
  if (state && state.error !== "none") {
    const key = state.error === "gone" ? "chat.gone" : state.error === "offline" ? "chat.offline" : "chat.refused";
    items.push({ key: "error", kind: "note", tone: "error", title: state.reason || t(key) });
  }
  return (
    <div className="chp">
      <div className="chp-phone"><div className="chp-screen">
        <ChatWindow
          title={channel?.name ?? t("chat.title")} subtitle={t("chat.online")} items={items} typing={state?.typing ?? false}
          disabled={!state?.id} empty={channels.length ? t("chat.empty") : t("chat.noChannel")}
          actions={<button type="button" onClick={() => void restart()} aria-label={t("chat.new")} title={t("chat.new")}><RotateCcw size={18} /></button>}
          onSend={(text) => void conversation.send(text)}
          onChoose={(choice) => void conversation.send(choice.label, choice.id)}
        />
      </div></div>
      <aside className="chp-side">
        <span className="chp-badge">{t("chat.badge")}</span>
        <h2>{t("chat.title")}</h2>
        <p>{t("chat.about")}</p>
        {channels.length > 1 && (
          <label>{t("chat.channel")}
            <select value={channelId} onChange={(event) => setChannelId(event.target.value)}>
              {channels.map((item) => <option key={item.id} value={item.id}>{item.name}</option>)}
            </select>
          </label>
        )}
        <label>{t("chat.name")}<input value={name} maxLength={80} onChange={(event) => setName(event.target.value)} placeholder="Ana García" /></label>
        <label>{t("chat.phone")}<input value={phone} maxLength={20} inputMode="tel" onChange={(event) => setPhone(event.target.value)} placeholder="+34 600 000 000" /></label>
        <button type="button" className="chp-new" disabled={!channelId} onClick={() => void restart()}>{t("chat.new")}</button>
      </aside>
    </div>
  );
}

function channelsOf(data: DOMStringMap): Channel[] {
  try {
    const parsed: unknown = JSON.parse(data.channels ?? "[]");
    if (Array.isArray(parsed) && parsed.length) return parsed.filter(isRecord).map((item) => ({ id: String(item.id), name: String(item.name ?? item.id) }));
  } catch {
    // Fall through to the single channel.
  }
  return data.channelId ? [{ id: data.channelId, name: data.channelName ?? "" }] : [];
}

const mount = document.getElementById("chat");
if (mount) {
  const locale = localeOf(mount.dataset.locale);
  const base = (mount.dataset.api ?? "/simulator").replace(/\/$/, "");
  createRoot(mount).render(
    <StrictMode>
      <LanguageContext value={{ locale, t: translator(locale) }}>
        <ChatPage api={createApi(mount.dataset.csrf ?? "")} base={base} channels={channelsOf(mount.dataset)} />
      </LanguageContext>
    </StrictMode>,
  );
}
