/** What stands in the way of saving, and what is being looked at, as a band under the bar. */
import { useLanguage } from "../i18n/react";
import type { Question } from "./Dialog";
import type { FlowStore } from "./flow";

export function Notices({ flow, viewed, canRestore, onBack, onRestore, ask }: {
  flow: FlowStore; viewed: number | null; canRestore: boolean; onBack: () => void; onRestore: () => void; ask: (question: Question) => void;
}) {
  const { t } = useLanguage();
  if (viewed !== null) {
    return (
      <div className="fd-band is-info" role="status">
        <span>{t("versions.viewing", { n: viewed })}</span>
        {canRestore && <button type="button" className="fd-btn" onClick={onRestore}>{t("versions.restoreDo")}</button>}
        <button type="button" className="fd-btn is-primary" onClick={onBack}>{t("versions.back")}</button>
      </div>
    );
  }
  const { state, reason } = flow.save;
  if (state === "conflict") {
    return (
      <div className="fd-band is-warning" role="alert">
        <span>{t("save.conflict")}</span>
        <button type="button" className="fd-btn" onClick={() => ask({ title: t("save.keepTitle"), body: <p>{t("save.keepBody")}</p>, confirm: t("save.keep"), danger: true, run: flow.overwrite })}>{t("save.keep")}</button>
        <button type="button" className="fd-btn is-primary" onClick={() => ask({ title: t("save.reloadTitle"), body: <p>{t("save.reloadBody")}</p>, confirm: t("save.reload"), run: flow.load })}>{t("save.reload")}</button>
      </div>
    );
  }
  if (state === "signedOut" || state === "refused" || state === "offline") {
    const text = state === "signedOut" ? t("save.signedOut") : state === "refused" ? t("save.refused", { reason: reason || "—" }) : t("save.offlineLong");
    return (
      <div className="fd-band is-error" role="alert">
        <span>{text}</span>
        <button type="button" className="fd-btn" onClick={() => void flow.retry()}>{t("designer.retry")}</button>
      </div>
    );
  }
  return null;
}
