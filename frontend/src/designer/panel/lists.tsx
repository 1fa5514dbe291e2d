/** The two ordered lists of the schema: the choices of a question and the cases of a branch. */
import { ArrowDown, ArrowUp, Plus, Trash2 } from "lucide-react";
import { useLanguage } from "../../i18n/react";
import { useDesigner } from "../context";
import {
  freshId, MAX_CHOICES, MIN_CHOICES, OPERATORS, slug, updateNode, withCases, withChoices, type Case, type Choice, type FlowNode, type Operator,
} from "../document";
import { TemplateText, Words } from "./fields";

/** The title of a list row in WhatsApp. */
const MAX_LABEL = 24;

export function moved<T>(items: readonly T[], index: number, by: number): T[] {
  const result = [...items];
  const [item] = result.splice(index, 1);
  if (item !== undefined) result.splice(index + by, 0, item);
  return result;
}

function RowTools({ index, count, fewest, onMove, onRemove, name }: {
  index: number; count: number; fewest: number; name: string; onMove: (by: number) => void; onRemove: () => void;
}) {
  const { t } = useLanguage();
  return (
    <span className="fd-row-tools">
      <button type="button" className="fd-icon" disabled={index === 0} aria-label={t("form.up", { name })} title={t("form.up", { name })} onClick={() => onMove(-1)}><ArrowUp size={15} /></button>
      <button type="button" className="fd-icon" disabled={index === count - 1} aria-label={t("form.down", { name })} title={t("form.down", { name })} onClick={() => onMove(1)}><ArrowDown size={15} /></button>
      <button type="button" className="fd-icon" disabled={count <= fewest} aria-label={t("form.remove", { name })} title={t("form.remove", { name })} onClick={onRemove}><Trash2 size={15} /></button>
    </span>
  );
}

/** An id nobody typed follows the label; one that somebody chose stays. */
function isAutomatic(choice: Choice): boolean {
  return /^choice_\d+$/.test(choice.id) || choice.id === slug(choice.label);
}

export function ChoicesEditor({ node }: { node: FlowNode }) {
  const { t } = useLanguage();
  const { edit, readOnly } = useDesigner();
  const choices = node.choices ?? [];
  const set = (next: Choice[], key?: string, renamed?: { from: string; to: string }) =>
    edit((document) => updateNode(document, node.id, (item) => withChoices(item, next, renamed)), key);
  const replace = (index: number, choice: Choice, key: string) => {
    const former = choices[index]!;
    const taken = choices.some((item, place) => place !== index && item.id === choice.id);
    const next = taken || !choice.id ? { ...choice, id: former.id } : choice;
    set(choices.map((item, place) => (place === index ? next : item)), `${node.id}.choice.${index}.${key}`, former.id === next.id ? undefined : { from: former.id, to: next.id });
  };
  return (
    <fieldset className="fd-list">
      <legend>{t("form.choices")} <small>{t("form.choicesCount", { n: choices.length, max: MAX_CHOICES })}</small></legend>
      {choices.map((choice, index) => {
        const name = choice.label || t("exit.choice", { n: index + 1 });
        return (
          <div key={index} className="fd-card">
            <div className="fd-card-head">
              <strong>{index + 1}</strong>
              <input
                value={choice.label} disabled={readOnly} aria-label={t("form.choiceLabel")} placeholder={t("form.choiceLabel")} maxLength={MAX_LABEL}
                onChange={(event) => {
                  const label = event.target.value;
                  replace(index, { ...choice, label, id: isAutomatic(choice) ? slug(label) || choice.id : choice.id }, "label");
                }}
              />
              {!readOnly && (
                <RowTools index={index} count={choices.length} fewest={MIN_CHOICES} name={name}
                  onMove={(by) => set(moved(choices, index, by))} onRemove={() => set(choices.filter((_, place) => place !== index))} />
              )}
            </div>
            <Words label={t("form.keywords")} bare placeholder={t("form.keywordsPlaceholder")} value={choice.keywords} onChange={(keywords) => replace(index, { ...choice, keywords }, "keywords")} />
            <label className="fd-inline"><span>{t("form.choiceId")}</span>
              <input className="fd-mono" value={choice.id} disabled={readOnly} maxLength={64} onChange={(event) => replace(index, { ...choice, id: event.target.value.replace(/[^\w-]/g, "_") }, "id")} />
            </label>
          </div>
        );
      })}
      {!readOnly && choices.length < MAX_CHOICES && (
        <button type="button" className="fd-add" onClick={() => set([...choices, { id: freshId(choices.map((item) => item.id), "choice"), label: "", keywords: [] }])}>
          <Plus size={15} />{t("form.addChoice")}
        </button>
      )}
    </fieldset>
  );
}

export function CasesEditor({ node }: { node: FlowNode }) {
  const { t } = useLanguage();
  const { edit, readOnly } = useDesigner();
  const cases = node.cases ?? [];
  const set = (next: Case[], key?: string) => edit((document) => updateNode(document, node.id, (item) => withCases(item, next)), key);
  const replace = (index: number, change: Partial<Case>) =>
    set(cases.map((item, place) => (place === index ? { ...item, ...change } : item)), `${node.id}.case.${index}.${Object.keys(change)[0]}`);
  return (
    <fieldset className="fd-list">
      <legend>{t("form.cases")} <small>{t("form.casesHint")}</small></legend>
      {cases.map((item, index) => {
        const name = t("exit.case", { n: index + 1 });
        const unary = item.operator === "is_set" || item.operator === "is_blank";
        return (
          <div key={item.id} className="fd-card">
            <div className="fd-card-head">
              <strong>{index + 1}</strong><span className="fd-card-title">{name}</span>
              {!readOnly && (
                <RowTools index={index} count={cases.length} fewest={1} name={name} onMove={(by) => set(moved(cases, index, by))} onRemove={() => set(cases.filter((_, place) => place !== index))} />
              )}
            </div>
            <TemplateText bare label={t("form.caseValue")} placeholder="{{ vars.… }}" value={item.value} onChange={(value) => replace(index, { value })} />
            <select value={item.operator} disabled={readOnly} aria-label={t("form.caseOperator")} onChange={(event) => replace(index, { operator: event.target.value as Operator })}>
              {OPERATORS.map((operator) => <option key={operator} value={operator}>{t(`op.${operator}`)}</option>)}
            </select>
            {!unary && <TemplateText bare label={t("form.caseOperand")} placeholder={t("form.caseOperand")} value={item.operand} onChange={(operand) => replace(index, { operand })} />}
          </div>
        );
      })}
      {!readOnly && (
        <button type="button" className="fd-add" onClick={() => set([...cases, { id: freshId(cases.map((item) => item.id), "case"), value: cases.at(-1)?.value ?? "", operator: "equals", operand: "" }])}>
          <Plus size={15} />{t("form.addCase")}
        </button>
      )}
    </fieldset>
  );
}
