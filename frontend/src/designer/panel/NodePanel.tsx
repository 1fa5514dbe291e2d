/** The form of one step: its own fields, where each way out leads, and what can be done with it. */
import { CircleAlert, Copy, Flag, Trash2, TriangleAlert } from "lucide-react";
import { useState } from "react";
import { useLanguage } from "../../i18n/react";
import { LOOKS, exitName, previewOf } from "../catalogue";
import { useDesigner } from "../context";
import { exitsOf, renameNode, setExit, targetOf, updateNode, type FlowNode } from "../document";
import { NodeFields } from "./NodeFields";

export function NodePanel({ node }: { node: FlowNode }) {
  const { t } = useLanguage();
  const { document, readOnly, problems, edit, removeSelected, duplicate } = useDesigner();
  const look = LOOKS[node.type];
  const Icon = look.icon;
  const mine = problems.get(node.id) ?? [];
  const exits = exitsOf(node);
  return (
    <div className="fd-form">
      <div className="fd-form-head" style={{ "--hue": look.hue } as React.CSSProperties}>
        <span className="fd-tile"><Icon size={18} aria-hidden="true" /></span>
        <div><h2 tabIndex={-1} data-panel-title>{t(look.name)}</h2><p>{t(look.hint)}</p></div>
      </div>
      {mine.map((problem, index) => (
        <p key={index} className={`fd-problem ${problem.blocking === false ? "is-warning" : "is-error"}`} role="note">
          {problem.blocking === false ? <TriangleAlert size={15} aria-hidden="true" /> : <CircleAlert size={15} aria-hidden="true" />}{problem.message}
        </p>
      ))}
      <NodeFields node={node} change={(field, value) => edit((now) => updateNode(now, node.id, (item) => ({ ...item, [field]: value })), `${node.id}.${String(field)}`)} />
      {exits.length > 0 && node.type !== "go_to" && (
        <fieldset className="fd-list fd-routes">
          <legend>{t("form.exits")}</legend>
          {exits.map((exit) => (
            <label key={exit.key} className="fd-inline"><span>{exitName(exit, node, t)}</span>
              <NodeSelect value={targetOf(node, exit.key)} none={t("form.endsHere")} onChange={(to) => edit((now) => setExit(now, node.id, exit.key, to))} />
            </label>
          ))}
        </fieldset>
      )}
      <StepName key={node.id} node={node} />
      {!readOnly && (
        <div className="fd-form-actions">
          <button type="button" className="fd-btn" disabled={document.start === node.id} onClick={() => edit((now) => ({ ...now, start: node.id }))}>
            <Flag size={15} />{document.start === node.id ? t("form.isStart") : t("form.makeStart")}
          </button>
          <button type="button" className="fd-btn" onClick={() => duplicate([node.id])}><Copy size={15} />{t("form.duplicate")}</button>
          <button type="button" className="fd-btn is-danger" onClick={() => removeSelected([node.id])}><Trash2 size={15} />{t("form.delete")}</button>
        </div>
      )}
    </div>
  );
}

export function NodeSelect({ value, none, onChange }: { value: string | null; none: string; onChange: (id: string | null) => void }) {
  const { t } = useLanguage();
  const { document, readOnly } = useDesigner();
  const missing = value && !document.nodes.some((node) => node.id === value);
  return (
    <select value={value ?? ""} disabled={readOnly} onChange={(event) => onChange(event.target.value || null)}>
      <option value="">{none}</option>
      {missing && <option value={value}>{t("form.missing", { name: value })}</option>}
      {document.nodes.map((node) => {
        const preview = previewOf(node, t).slice(0, 36);
        return <option key={node.id} value={node.id}>{t(LOOKS[node.type].name)} · {node.id}{preview ? ` — ${preview}` : ""}</option>;
      })}
    </select>
  );
}

/** The step's id, taken when the author leaves the box: half a name would cut connections to its namesake. */
function StepName({ node }: { node: FlowNode }) {
  const { t } = useLanguage();
  const { document, readOnly, edit, focusNode } = useDesigner();
  const [name, setName] = useState(node.id);
  const taken = name !== node.id && document.nodes.some((item) => item.id === name);
  const take = () => {
    if (!name || taken) return setName(node.id);
    if (name === node.id) return;
    edit((now) => renameNode(now, node.id, name));
    focusNode(name);
  };
  return (
    <div className="fd-field">
      <label>{t("form.stepName")}
        <input className="fd-mono" value={name} disabled={readOnly} maxLength={64} aria-invalid={taken} spellCheck={false}
          onChange={(event) => setName(event.target.value.replace(/[^\w-]/g, "_"))} onBlur={take}
          onKeyDown={(event) => { if (event.key === "Enter") take(); }} />
      </label>
      <small className={taken ? "is-error" : ""}>{taken ? t("form.nameTaken") : t("form.stepNameHint")}</small>
    </div>
  );
}
