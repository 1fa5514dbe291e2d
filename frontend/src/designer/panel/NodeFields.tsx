/** The fields of each type, as the schema has them. */
import { useLanguage } from "../../i18n/react";
import { useDesigner } from "../context";
import { ASK_KINDS, LEAD_FIELDS, MAX_NAME, slug, updateNode, variableNames, withKind, type FlowNode } from "../document";
import { NumberInput, Pairs, Select, TemplateText, TextInput } from "./fields";
import { CasesEditor, ChoicesEditor } from "./lists";
import { NodeSelect } from "./NodePanel";

interface Props {
  node: FlowNode;
  change: <K extends keyof FlowNode>(field: K, value: FlowNode[K]) => void;
}

const MAX_MESSAGE = 4096;

export function NodeFields({ node, change }: Props): React.JSX.Element {
  const { t } = useLanguage();
  switch (node.type) {
    case "send_text":
      return <Message node={node} change={change} />;
    case "ask":
      return <AskFields node={node} change={change} />;
    case "branch":
      return <CasesEditor node={node} />;
    case "set_variable":
      return (
        <>
          <VariableName node={node} change={change} />
          <TemplateText label={t("form.value")} value={node.value ?? ""} onChange={(value) => change("value", value)} placeholder="{{ vars.… }}" />
        </>
      );
    case "capture_lead":
      return <LeadFields node={node} change={change} />;
    case "request_email":
      return <MailFields node={node} change={change} />;
    case "hand_over":
      return <TemplateText label={t("form.note")} rows={3} value={node.note ?? ""} onChange={(value) => change("note", value)} hint={t("form.noteHint")} />;
    case "go_to":
      return (
        <label className="fd-field"><span className="fd-label">{t("form.target")}</span>
          <NodeSelect value={node.target || null} none={t("form.pickStep")} onChange={(id) => change("target", id ?? "")} />
        </label>
      );
    case "end":
      return <p className="fd-hint">{t("form.endHint")}</p>;
  }
}

function Message({ node, change }: Props) {
  const { t } = useLanguage();
  const size = node.text?.length ?? 0;
  return (
    <TemplateText label={node.type === "ask" ? t("form.question") : t("form.text")} rows={4} value={node.text ?? ""} onChange={(value) => change("text", value)}
      placeholder={t("form.textPlaceholder")} hint={size > MAX_MESSAGE * 0.8 ? `${size} / ${MAX_MESSAGE}` : t("form.textHint")} />
  );
}

function VariableName({ node, change }: Props) {
  const { t } = useLanguage();
  const { document } = useDesigner();
  return (
    <TextInput mono label={t("form.variable")} value={node.variable ?? ""} list={variableNames(document)} maxLength={MAX_NAME} placeholder="name"
      onChange={(value) => change("variable", /[^\w]/.test(value) ? slug(value, MAX_NAME) : value)} hint={node.variable ? `{{ vars.${node.variable} }}` : t("form.variableHint")} />
  );
}

function AskFields({ node, change }: Props) {
  const { t } = useLanguage();
  const { edit } = useDesigner();
  const kind = node.kind ?? "text";
  return (
    <>
      <Message node={node} change={change} />
      <Select label={t("form.kind")} value={kind} options={ASK_KINDS.map((item) => [item, t(`kind.${item}`)] as const)}
        onChange={(value) => edit((now) => updateNode(now, node.id, (item) => withKind(item, value)))} />
      <VariableName node={node} change={change} />
      {kind === "choice" && <ChoicesEditor node={node} />}
      {kind === "number" && (
        <div className="fd-two">
          <NumberInput label={t("form.min")} value={toNumber(node.min)} onChange={(value) => change("min", value)} />
          <NumberInput label={t("form.max")} value={toNumber(node.max)} onChange={(value) => change("max", value)} />
        </div>
      )}
      {kind === "date" && (
        <div className="fd-two">
          <DateInput label={t("form.minDate")} value={node.min} onChange={(value) => change("min", value)} />
          <DateInput label={t("form.maxDate")} value={node.max} onChange={(value) => change("max", value)} />
        </div>
      )}
      {kind === "phone" && (
        <TextInput mono label={t("form.country")} value={node.country ?? ""} maxLength={2} placeholder="ES" hint={t("form.countryHint")}
          onChange={(value) => change("country", value.toUpperCase().replace(/[^A-Z]/g, ""))} />
      )}
      <details className="fd-more" open={!!node.retry_text || node.timeout_minutes != null}>
        <summary>{t("form.noAnswer")}</summary>
        <NumberInput label={t("form.retries")} value={node.retries ?? 0} min={0} max={20} onChange={(value) => change("retries", Math.max(0, Math.round(value ?? 0)))} hint={t("form.retriesHint")} />
        <TemplateText label={t("form.retryText")} rows={2} value={node.retry_text ?? ""} onChange={(value) => change("retry_text", value)} />
        <NumberInput label={t("form.timeout")} value={node.timeout_minutes} min={1} placeholder={t("form.never")} hint={t("form.timeoutHint")}
          onChange={(value) => change("timeout_minutes", value === null ? null : Math.max(1, Math.round(value)))} />
      </details>
    </>
  );
}

function DateInput({ label, value, onChange }: { label: string; value: number | string | null | undefined; onChange: (value: string | null) => void }) {
  const { readOnly } = useDesigner();
  return (
    <label className="fd-field"><span className="fd-label">{label}</span>
      <input type="date" disabled={readOnly} value={typeof value === "string" ? value : ""} onChange={(event) => onChange(event.target.value || null)} />
    </label>
  );
}

function toNumber(value: number | string | null | undefined): number | null {
  if (value === null || value === undefined || value === "") return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

function LeadFields({ node, change }: Props) {
  const { t } = useLanguage();
  const fields = node.fields ?? {};
  const own = Object.fromEntries(Object.entries(fields).filter(([key]) => (LEAD_FIELDS as readonly string[]).includes(key)));
  const custom = Object.fromEntries(Object.entries(fields).filter(([key]) => !(LEAD_FIELDS as readonly string[]).includes(key)));
  return (
    <>
      {LEAD_FIELDS.map((key) => (
        <TemplateText key={key} label={t(`lead.${key}`)} value={own[key] ?? ""} placeholder={`{{ vars.${key} }}`} onChange={(value) => change("fields", { ...fields, [key]: value })} />
      ))}
      <fieldset className="fd-list">
        <legend>{t("form.customFields")}</legend>
        <Pairs value={custom} onChange={(value) => change("fields", { ...own, ...value })} addLabel={t("form.addField")} nameLabel={t("form.fieldName")} valueLabel={t("form.value")} />
      </fieldset>
    </>
  );
}

function MailFields({ node, change }: Props) {
  const { t } = useLanguage();
  const { templates, document, edit } = useDesigner();
  const values = node.variables ?? {};
  const template = templates?.find((item) => item.key === node.template);
  const wanted = template?.variables ?? [];
  const extra = Object.fromEntries(Object.entries(values).filter(([key]) => !wanted.some((item) => item.name === key)));
  const set = (next: Record<string, string>) => change("variables", next);
  const pick = (key: string) => {
    const known = variableNames(document);
    const offered = templates?.find((item) => item.key === key)?.variables ?? [];
    const filled = Object.fromEntries(offered.map(({ name }) => [name, values[name] ?? (known.includes(name) ? `{{ vars.${name} }}` : "")]));
    edit((now) => updateNode(now, node.id, (item) => ({ ...item, template: key, variables: { ...extra, ...filled } })));
  };
  const options: [string, string][] = [
    ["", t("form.pickTemplate")],
    ...(node.template && !template ? [[node.template, t("form.missing", { name: node.template })] as [string, string]] : []),
    ...[...new Map((templates ?? []).map((item) => [item.key, `${item.name} (${item.key})`]))],
  ];
  return (
    <>
      {templates?.length
        ? <Select label={t("form.template")} value={node.template ?? ""} options={options} onChange={pick} />
        : <TextInput mono label={t("form.template")} value={node.template ?? ""} onChange={(value) => change("template", value)} hint={templates ? t("form.noTemplates") : undefined} />}
      <TemplateText label={t("form.to")} value={node.to ?? ""} onChange={(value) => change("to", value)} placeholder="{{ vars.email }}" />
      {wanted.length > 0 && (
        <fieldset className="fd-list">
          <legend>{t("form.mailVariables")}</legend>
          {wanted.map(({ name, required }) => (
            <TemplateText key={name} label={required ? `${name} *` : name} value={values[name] ?? ""} onChange={(value) => set({ ...values, [name]: value })} />
          ))}
        </fieldset>
      )}
      <fieldset className="fd-list">
        <legend>{wanted.length ? t("form.moreVariables") : t("form.mailVariables")}</legend>
        <Pairs value={extra} addLabel={t("form.addVariable")} nameLabel={t("form.fieldName")} valueLabel={t("form.value")}
          onChange={(next) => set({ ...Object.fromEntries(wanted.map(({ name }) => [name, values[name] ?? ""])), ...next })} />
      </fieldset>
    </>
  );
}
