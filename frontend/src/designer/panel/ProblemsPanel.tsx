import { CircleAlert, CircleCheck, TriangleAlert } from "lucide-react";
import { useLanguage } from "../../i18n/react";
import type { Problem } from "../../shared/http";
import { LOOKS } from "../catalogue";
import { useDesigner } from "../context";
import { findNode } from "../document";

/** Everything the server has to say about the draft; a click leads to the place. */
export function ProblemsPanel({ problems, onFlow }: { problems: Problem[]; onFlow: () => void }) {
  const { t } = useLanguage();
  const { document, focusNode } = useDesigner();
  const sorted = [...problems].sort((a, b) => Number(b.blocking !== false) - Number(a.blocking !== false));
  return (
    <div className="fd-form">
      <div className="fd-form-head"><div><h2 tabIndex={-1} data-panel-title>{t("problems.title")}</h2><p>{t("problems.about")}</p></div></div>
      {!sorted.length && <p className="fd-fine"><CircleCheck size={18} aria-hidden="true" />{t("problems.none")}</p>}
      <ul className="fd-problems">
        {sorted.map((problem, index) => {
          const node = findNode(document, nodeOf(problem));
          const warning = problem.blocking === false;
          return (
            <li key={index}>
              <button type="button" className={warning ? "is-warning" : "is-error"} onClick={() => (node ? focusNode(node.id) : onFlow())}>
                {warning ? <TriangleAlert size={16} aria-hidden="true" /> : <CircleAlert size={16} aria-hidden="true" />}
                <span><strong>{node ? `${t(LOOKS[node.type].name)} · ${node.id}` : t("problems.flow")}</strong>{problem.message}</span>
                <span className="fd-sr">{warning ? t("problems.warning") : t("problems.error")}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </div>
  );
}

/** A problem's place is a node id, perhaps followed by a pointer to the field. */
export function nodeOf(problem: Problem): string {
  return problem.where.split("/")[0]!;
}
