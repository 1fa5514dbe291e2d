import { useEffect, useState } from "react";
import { useLanguage } from "../i18n/react";
import { toast } from "../shared/toast";
import { useDesigner } from "./context";
import { readDocument, refusal } from "./document";

/** The document as text, for those who want it. Nothing is taken that the canvas could not show. */
export function JsonView() {
  const { t } = useLanguage();
  const { document, readOnly, edit } = useDesigner();
  const [text, setText] = useState(() => JSON.stringify(document, null, 2));
  const [base, setBase] = useState(document);
  const [error, setError] = useState("");
  const current = JSON.stringify(base, null, 2);
  const changed = text !== current;

  useEffect(() => {
    if (base === document) return;
    setBase(document);
    if (!changed) setText(JSON.stringify(document, null, 2));
  }, [document, base, changed]);

  const apply = () => {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (problem) {
      return setError(t("json.syntax", { reason: problem instanceof Error ? problem.message : "" }));
    }
    const refused = refusal(value);
    if (refused) return setError(t(refused.key, { at: refused.at }));
    setError("");
    const next = readDocument(value);
    edit(() => next);
    setText(JSON.stringify(next, null, 2));
    toast(t("json.applied"), { kind: "success" });
  };
  return (
    <div className="fd-json">
      <div className="fd-json-bar">
        <p>{t("json.about")}</p>
        <button type="button" className="fd-btn" onClick={() => void navigator.clipboard?.writeText(text).then(() => toast(t("json.copied")))}>{t("json.copy")}</button>
        {!readOnly && <button type="button" className="fd-btn" disabled={!changed} onClick={() => { setText(JSON.stringify(document, null, 2)); setError(""); }}>{t("json.revert")}</button>}
        {!readOnly && <button type="button" className="fd-btn is-primary" disabled={!changed} onClick={apply}>{t("json.apply")}</button>}
      </div>
      {error && <p className="fd-problem is-error" role="alert">{error}</p>}
      <textarea value={text} readOnly={readOnly} spellCheck={false} aria-label={t("json.label")} aria-invalid={!!error}
        onChange={(event) => { setText(event.target.value); setError(""); }} />
    </div>
  );
}
