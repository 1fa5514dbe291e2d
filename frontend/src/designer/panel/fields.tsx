/** The form's parts: labelled inputs, texts that take variables, word lists, key-value rows. */
import { Braces, Plus, Trash2, X } from "lucide-react";
import { useEffect, useId, useLayoutEffect, useRef, useState, type ReactNode } from "react";
import { useLanguage } from "../../i18n/react";
import { useDesigner } from "../context";
import { variableNames } from "../document";

export function Field({ label, hint, children }: { label: string; hint?: string; children: (id: string) => ReactNode }) {
  const id = useId();
  return (
    <div className="fd-field">
      <label htmlFor={id}>{label}</label>
      {children(id)}
      {hint && <small>{hint}</small>}
    </div>
  );
}

interface TextProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  hint?: string;
  placeholder?: string;
  mono?: boolean;
  list?: readonly string[];
  maxLength?: number;
}

export function TextInput({ label, value, onChange, hint, placeholder, mono, list, maxLength }: TextProps) {
  const { readOnly } = useDesigner();
  const listId = useId();
  return (
    <Field label={label} hint={hint}>
      {(id) => (
        <>
          <input id={id} className={mono ? "fd-mono" : ""} value={value} disabled={readOnly} placeholder={placeholder} maxLength={maxLength}
            list={list ? listId : undefined} autoComplete="off" spellCheck={!mono} onChange={(event) => onChange(event.target.value)} />
          {list && <datalist id={listId}>{list.map((item) => <option key={item} value={item} />)}</datalist>}
        </>
      )}
    </Field>
  );
}

/** A number or nothing; what is not a number stays in the box and is not taken. */
export function NumberInput({ label, value, onChange, hint, min, max, placeholder }: {
  label: string; value: number | null | undefined; onChange: (value: number | null) => void; hint?: string; min?: number; max?: number; placeholder?: string;
}) {
  const { readOnly } = useDesigner();
  return (
    <Field label={label} hint={hint}>
      {(id) => (
        <input id={id} type="number" inputMode="decimal" value={value ?? ""} min={min} max={max} disabled={readOnly} placeholder={placeholder}
          onChange={(event) => {
            const number = event.target.valueAsNumber;
            if (event.target.value === "") onChange(null);
            else if (Number.isFinite(number)) onChange(number);
          }} />
      )}
    </Field>
  );
}

export function Select<T extends string>({ label, value, options, onChange, hint }: {
  label: string; value: T; options: readonly (readonly [T, string])[]; onChange: (value: T) => void; hint?: string;
}) {
  const { readOnly } = useDesigner();
  return (
    <Field label={label} hint={hint}>
      {(id) => (
        <select id={id} value={value} disabled={readOnly} onChange={(event) => onChange(event.target.value as T)}>
          {options.map(([key, name]) => <option key={key} value={key}>{name}</option>)}
        </select>
      )}
    </Field>
  );
}

/** A text in which variables may stand, with a menu that writes them at the cursor. */
export function TemplateText({ label, value, onChange, hint, placeholder, rows, bare }: TextProps & { rows?: number; bare?: boolean }) {
  const { readOnly, document: flow } = useDesigner();
  const { t } = useLanguage();
  const [open, setOpen] = useState(false);
  const input = useRef<HTMLTextAreaElement & HTMLInputElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const id = useId();

  useLayoutEffect(() => {
    const area = input.current;
    if (!rows || !area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, 320)}px`;
  }, [rows, value]);
  useEffect(() => {
    if (!open) return;
    const close = (event: PointerEvent) => { if (!box.current?.contains(event.target as Node)) setOpen(false); };
    window.addEventListener("pointerdown", close);
    return () => window.removeEventListener("pointerdown", close);
  }, [open]);

  const insert = (path: string) => {
    const element = input.current;
    const from = element?.selectionStart ?? value.length;
    const to = element?.selectionEnd ?? from;
    const piece = `{{ ${path} }}`;
    onChange(value.slice(0, from) + piece + value.slice(to));
    setOpen(false);
    requestAnimationFrame(() => {
      element?.focus();
      element?.setSelectionRange(from + piece.length, from + piece.length);
    });
  };
  const paths = [
    ...variableNames(flow).map((name) => [`vars.${name}`, name] as const),
    ["contact.name", t("var.contact.name")], ["contact.phone", t("var.contact.phone")], ["contact.user_id", t("var.contact.user_id")],
    ["message.text", t("var.message.text")], ["flow.name", t("var.flow.name")], ["channel.name", t("var.channel.name")], ["now", t("var.now")],
  ] as const;
  const shared = {
    id, ref: input, value, disabled: readOnly, placeholder, onChange: (event: { target: { value: string } }) => onChange(event.target.value),
    "aria-label": bare ? label : undefined,
  };
  return (
    <div className="fd-field" ref={box} onKeyDown={(event) => { if (event.key === "Escape" && open) { event.stopPropagation(); setOpen(false); input.current?.focus(); } }}>
      {!bare && <label htmlFor={id}>{label}</label>}
      <div className="fd-with-vars">
        {rows ? <textarea rows={rows} {...shared} /> : <input autoComplete="off" {...shared} />}
        {!readOnly && (
          <button type="button" aria-label={t("form.insertVariable")} title={t("form.insertVariable")} aria-expanded={open} onClick={() => setOpen(!open)}>
            <Braces size={15} />
          </button>
        )}
      </div>
      {open && (
        <ul className="fd-vars">
          {paths.map(([path, name]) => (
            <li key={path}><button type="button" onClick={() => insert(path)}><span>{name}</span><code>{path}</code></button></li>
          ))}
        </ul>
      )}
      {hint && <small>{hint}</small>}
    </div>
  );
}

/** Words as chips: Enter or a comma adds one, Backspace in the empty box takes the last. */
export function Words({ label, value, onChange, hint, placeholder, bare }: {
  label: string; value: string[]; onChange: (value: string[]) => void; hint?: string; placeholder?: string; bare?: boolean;
}) {
  const { readOnly } = useDesigner();
  const { t } = useLanguage();
  const [draft, setDraft] = useState("");
  const id = useId();
  const add = (text: string) => {
    const words = text.split(",").map((word) => word.trim()).filter((word) => word && !value.includes(word));
    if (words.length) onChange([...value, ...new Set(words)]);
    setDraft("");
  };
  return (
    <div className="fd-field">
      {!bare && <label htmlFor={id}>{label}</label>}
      <div className="fd-words">
        {value.map((word) => (
          <span key={word}>
            {word}
            {!readOnly && <button type="button" aria-label={t("form.remove", { name: word })} onClick={() => onChange(value.filter((item) => item !== word))}><X size={12} /></button>}
          </span>
        ))}
        {!readOnly && (
          <input
            id={id} value={draft} placeholder={value.length ? "" : placeholder} aria-label={bare ? label : undefined} autoComplete="off"
            onChange={(event) => (event.target.value.includes(",") ? add(event.target.value) : setDraft(event.target.value))}
            onKeyDown={(event) => {
              if (event.key === "Enter" && draft.trim()) { event.preventDefault(); add(draft); }
              if (event.key === "Backspace" && !draft && value.length) onChange(value.slice(0, -1));
            }}
            onBlur={() => add(draft)}
          />
        )}
      </div>
      {hint && <small>{hint}</small>}
    </div>
  );
}

/** Names and texts, one pair a row. Rows still without a name live here only. */
export function Pairs({ value, onChange, addLabel, nameLabel, valueLabel }: {
  value: Record<string, string>; onChange: (value: Record<string, string>) => void; addLabel: string; nameLabel: string; valueLabel: string;
}) {
  const { readOnly } = useDesigner();
  const { t } = useLanguage();
  const [rows, setRows] = useState<[string, string][]>(Object.entries(value));
  const collect = (items: [string, string][]) => Object.fromEntries(items.filter(([name]) => name));
  if (JSON.stringify(collect(rows)) !== JSON.stringify(value)) setRows(Object.entries(value)); // undone, or changed elsewhere
  const change = (items: [string, string][]) => {
    setRows(items);
    onChange(collect(items));
  };
  return (
    <div className="fd-pairs">
      {rows.map(([name, text], index) => (
        <div key={index} className="fd-pair">
          <input
            className="fd-mono" value={name} disabled={readOnly} placeholder={nameLabel} aria-label={nameLabel} autoComplete="off"
            onChange={(event) => {
              const to = event.target.value.replace(/\s+/g, "_");
              if (!to || !rows.some(([other], place) => place !== index && other === to)) change(rows.map((row, place) => (place === index ? [to, text] : row)));
            }}
          />
          <TemplateText bare label={valueLabel} placeholder={valueLabel} value={text} onChange={(to) => change(rows.map((row, place) => (place === index ? [name, to] : row)))} />
          {!readOnly && (
            <button type="button" className="fd-icon" aria-label={t("form.remove", { name: name || nameLabel })} onClick={() => change(rows.filter((_, place) => place !== index))}>
              <Trash2 size={15} />
            </button>
          )}
        </div>
      ))}
      {!readOnly && <button type="button" className="fd-add" onClick={() => setRows([...rows, ["", ""]])}><Plus size={15} />{addLabel}</button>}
    </div>
  );
}
