import { CircleHelp, MessageSquareText, Workflow } from "lucide-react";
import { useLanguage } from "../i18n/react";
import type { NodeType } from "./document";

/** A new flow says what to do, and does the first step on a click. */
export function EmptyState({ readOnly, onAdd }: { readOnly: boolean; onAdd: (type: NodeType) => void }) {
  const { t } = useLanguage();
  return (
    <div className="fd-empty">
      <span className="fd-empty-icon"><Workflow size={26} aria-hidden="true" /></span>
      <h2>{t("empty.title")}</h2>
      {readOnly ? <p>{t("empty.readOnly")}</p> : (
        <>
          <ol>
            <li>{t("empty.one")}</li>
            <li>{t("empty.two")}</li>
            <li>{t("empty.three")}</li>
          </ol>
          <div>
            <button type="button" className="fd-btn is-primary" onClick={() => onAdd("send_text")}><MessageSquareText size={16} />{t("empty.message")}</button>
            <button type="button" className="fd-btn" onClick={() => onAdd("ask")}><CircleHelp size={16} />{t("empty.question")}</button>
          </div>
        </>
      )}
    </div>
  );
}
