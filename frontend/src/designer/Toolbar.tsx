/** The bar over the canvas: the flow's name and state, and everything that concerns it as a whole. */
import {
  ArrowLeft, Braces, Check, CircleAlert, CircleCheck, CloudOff, History, LoaderCircle, Play, Redo2, Rocket, Settings2, TriangleAlert, Undo2, Workflow,
} from "lucide-react";
import { useLanguage } from "../i18n/react";
import type { Problem } from "../shared/http";
import type { FlowStore } from "./flow";
import { when } from "./panel/VersionsPanel";

export type PanelName = "settings" | "problems" | "versions";

interface Props {
  flow: FlowStore;
  readOnly: boolean;
  canPublish: boolean;
  back: string | null;
  problems: Problem[];
  panel: PanelName | null;
  trying: boolean;
  view: "canvas" | "json";
  onPanel: (panel: PanelName) => void;
  onTry: () => void;
  onView: (view: "canvas" | "json") => void;
  onPublish: () => void;
}

export function Toolbar(props: Props) {
  const { t } = useLanguage();
  const { flow, problems, readOnly } = props;
  const errors = problems.filter((problem) => problem.blocking !== false).length;
  const warnings = problems.length - errors;
  const blocked = errors ? t("publish.blocked", { n: errors }) : "";
  return (
    <header className="fd-bar">
      {props.back && <a className="fd-icon" href={props.back} aria-label={t("designer.back")} title={t("designer.back")}><ArrowLeft size={18} /></a>}
      <div className="fd-bar-title">
        <input value={flow.draft.name} disabled={readOnly} maxLength={120} aria-label={t("settings.name")} placeholder={t("settings.name")} onChange={(event) => flow.rename(event.target.value)} />
        <div className="fd-bar-state">
          <SaveNote flow={flow} readOnly={readOnly} />
          {flow.published
            ? <span className={`fd-pill ${flow.changed ? "is-changed" : "is-live"}`}>{t("designer.published", { n: flow.published.number })}{flow.changed && ` · ${t("designer.changed")}`}</span>
            : <span className="fd-pill">{t("designer.neverPublished")}</span>}
        </div>
      </div>
      <div className="fd-bar-tools">
        {!readOnly && (
          <div className="fd-group" role="group" aria-label={t("designer.history")}>
            <button type="button" className="fd-icon" disabled={!flow.canUndo} onClick={flow.undo} aria-label={t("designer.undo")} title={`${t("designer.undo")} (Ctrl+Z)`}><Undo2 size={17} /></button>
            <button type="button" className="fd-icon" disabled={!flow.canRedo} onClick={flow.redo} aria-label={t("designer.redo")} title={`${t("designer.redo")} (Ctrl+Shift+Z)`}><Redo2 size={17} /></button>
          </div>
        )}
        <div className="fd-tabs" role="group" aria-label={t("designer.view")}>
          <button type="button" aria-pressed={props.view === "canvas"} onClick={() => props.onView("canvas")}><Workflow size={15} aria-hidden="true" />{t("designer.canvas")}</button>
          <button type="button" aria-pressed={props.view === "json"} onClick={() => props.onView("json")}><Braces size={15} aria-hidden="true" />JSON</button>
        </div>
        <button type="button" className={`fd-btn fd-count ${errors ? "is-error" : warnings ? "is-warning" : "is-fine"}`} aria-pressed={props.panel === "problems"} onClick={() => props.onPanel("problems")}
          aria-label={t("problems.count", { errors, warnings })} title={t("problems.count", { errors, warnings })}>
          {errors ? <CircleAlert size={16} /> : warnings ? <TriangleAlert size={16} /> : <CircleCheck size={16} />}
          {errors + warnings > 0 && errors + warnings}
        </button>
        <button type="button" className="fd-btn" aria-pressed={props.panel === "settings"} onClick={() => props.onPanel("settings")} title={t("settings.title")}><Settings2 size={16} /><span className="fd-wide">{t("settings.short")}</span></button>
        <button type="button" className="fd-btn" aria-pressed={props.panel === "versions"} onClick={() => props.onPanel("versions")} title={t("versions.title")}><History size={16} /><span className="fd-wide">{t("versions.title")}</span></button>
        <button type="button" className="fd-btn" aria-pressed={props.trying} onClick={props.onTry} title={t("try.title")}><Play size={16} /><span className="fd-medium">{t("try.title")}</span></button>
        {props.canPublish && (
          <span className="fd-publish" title={blocked || undefined}>
            <button type="button" className="fd-btn is-primary" disabled={!!errors || readOnly} aria-describedby={blocked ? "fd-blocked" : undefined} onClick={props.onPublish}><Rocket size={16} />{t("publish.do")}</button>
            {blocked && <span id="fd-blocked" className="fd-sr">{blocked}</span>}
          </span>
        )}
      </div>
    </header>
  );
}

function SaveNote({ flow, readOnly }: { flow: FlowStore; readOnly: boolean }) {
  const { locale, t } = useLanguage();
  if (readOnly) return <span className="fd-save">{t("designer.readOnly")}</span>;
  const { state } = flow.save;
  const saved = flow.savedBy?.at ? t("save.by", { when: when(flow.savedBy.at, locale), who: flow.savedBy.by }) : undefined;
  return (
    <span className={`fd-save is-${state}`} role="status" title={state === "saved" ? saved : undefined}>
      {state === "saved" && <><Check size={14} aria-hidden="true" />{t("save.saved")}</>}
      {(state === "pending" || state === "saving") && <><LoaderCircle size={14} className="fd-spin" aria-hidden="true" />{t("save.saving")}</>}
      {state === "conflict" && <><TriangleAlert size={14} aria-hidden="true" />{t("save.conflictShort")}</>}
      {state === "offline" && <><CloudOff size={14} aria-hidden="true" />{t("save.offline")}</>}
      {state === "signedOut" && <><CircleAlert size={14} aria-hidden="true" />{t("save.signedOutShort")}</>}
      {state === "refused" && <><CircleAlert size={14} aria-hidden="true" />{t("save.refusedShort")}</>}
    </span>
  );
}
