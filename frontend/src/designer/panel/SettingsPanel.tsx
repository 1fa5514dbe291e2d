/** What holds for the whole flow: when it starts, when it gives up, which variables it is given. */
import { Plus, Trash2 } from "lucide-react";
import { useLanguage } from "../../i18n/react";
import type { Problem } from "../../shared/http";
import { useDesigner } from "../context";
import { MAX_NAME, slug, type FlowDocument, type Variable } from "../document";
import { NumberInput, Select, TextInput, Words } from "./fields";
import { NodeSelect } from "./NodePanel";

const DAY_MINUTES = 1440;

export function SettingsPanel({ name, rename, general }: { name: string; rename: (name: string) => void; general: Problem[] }) {
  const { t } = useLanguage();
  const { document, readOnly, edit } = useDesigner();
  const set = (change: Partial<FlowDocument>, key: string) => edit((now) => ({ ...now, ...change }), `flow.${key}`);
  const setVariables = (variables: Variable[], key = "variables") => set({ variables }, key);
  return (
    <div className="fd-form">
      <div className="fd-form-head"><div><h2 tabIndex={-1} data-panel-title>{t("settings.title")}</h2><p>{t("settings.about")}</p></div></div>
      {general.map((problem, index) => <p key={index} className={`fd-problem ${problem.blocking === false ? "is-warning" : "is-error"}`}>{problem.message}</p>)}
      <TextInput label={t("settings.name")} value={name} maxLength={120} onChange={rename} />
      <Words label={t("settings.keywords")} value={document.triggers.keywords} placeholder={t("settings.keywordsPlaceholder")} hint={t("settings.keywordsHint")}
        onChange={(keywords) => set({ triggers: { ...document.triggers, keywords } }, "keywords")} />
      <Select label={t("settings.match")} value={document.triggers.match} options={[["word", t("settings.match.word")], ["exact", t("settings.match.exact")]]}
        onChange={(match) => set({ triggers: { ...document.triggers, match } }, "match")} />
      <label className="fd-field"><span className="fd-label">{t("settings.start")}</span>
        <NodeSelect value={document.start} none={t("form.pickStep")} onChange={(start) => set({ start }, "start")} />
      </label>
      <div className="fd-two">
        <NumberInput label={t("settings.expire")} value={document.settings.expire_minutes} min={1}
          hint={document.settings.expire_minutes >= DAY_MINUTES ? t("settings.days", { n: Math.round((document.settings.expire_minutes / DAY_MINUTES) * 10) / 10 }) : t("settings.minutes")}
          onChange={(value) => set({ settings: { ...document.settings, expire_minutes: Math.max(1, Math.round(value ?? DAY_MINUTES)) } }, "expire")} />
        <Select label={t("settings.language")} value={document.language} options={languages(document.language, t("settings.es"), t("settings.en"))} onChange={(language) => set({ language }, "language")} />
      </div>
      <fieldset className="fd-list">
        <legend>{t("settings.variables")} <small>{t("settings.variablesHint")}</small></legend>
        {document.variables.map((variable, index) => (
          <div key={index} className="fd-pair">
            <input className="fd-mono" value={variable.name} disabled={readOnly} maxLength={MAX_NAME} aria-label={t("form.fieldName")} placeholder={t("form.fieldName")}
              onChange={(event) => setVariables(document.variables.map((item, place) => (place === index ? { ...item, name: /[^\w]/.test(event.target.value) ? slug(event.target.value, MAX_NAME) : event.target.value } : item)), `variable.${index}.name`)} />
            <input value={variable.default} disabled={readOnly} aria-label={t("settings.default")} placeholder={t("settings.default")}
              onChange={(event) => setVariables(document.variables.map((item, place) => (place === index ? { ...item, default: event.target.value } : item)), `variable.${index}.default`)} />
            {!readOnly && (
              <button type="button" className="fd-icon" aria-label={t("form.remove", { name: variable.name })} onClick={() => setVariables(document.variables.filter((_, place) => place !== index))}><Trash2 size={15} /></button>
            )}
          </div>
        ))}
        {!readOnly && <button type="button" className="fd-add" onClick={() => setVariables([...document.variables, { name: "", default: "" }])}><Plus size={15} />{t("form.addVariable")}</button>}
      </fieldset>
    </div>
  );
}

function languages(current: string, es: string, en: string): [string, string][] {
  const known: [string, string][] = [["es", es], ["en", en]];
  return known.some(([key]) => key === current) ? known : [...known, [current, current]];
}
