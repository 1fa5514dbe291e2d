/** A question over the page. The browser's own dialog keeps the focus inside and closes on Escape. */
import { useEffect, useId, useRef, type ReactNode } from "react";
import { useLanguage } from "../i18n/react";

export interface Question { title: string; body: ReactNode; confirm: string; danger?: boolean; run: () => void | Promise<void> }

export function Dialog({ question, onClose }: { question: Question; onClose: () => void }) {
  const { t } = useLanguage();
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog ref={dialog} className="fd-dialog" aria-labelledby={title} onCancel={(event) => { event.preventDefault(); onClose(); }}
      onClick={(event) => { if (event.target === dialog.current) onClose(); }}>
      <form method="dialog" onSubmit={(event) => { event.preventDefault(); onClose(); void question.run(); }}>
        <h2 id={title}>{question.title}</h2>
        <div className="fd-dialog-body">{question.body}</div>
        <div className="fd-dialog-foot">
          <button type="button" className="fd-btn" onClick={onClose}>{t("designer.cancel")}</button>
          <button type="submit" autoFocus className={`fd-btn ${question.danger ? "is-danger-solid" : "is-primary"}`}>{question.confirm}</button>
        </div>
      </form>
    </dialog>
  );
}
