import { useLanguage } from "../i18n/react";
import { DRAG_TYPE, LOOKS, PALETTE } from "./catalogue";
import type { NodeType } from "./document";

/** The steps to add: a click puts one after the selected step, dragging puts it anywhere. */
export function Palette({ onAdd }: { onAdd: (type: NodeType) => void }) {
  const { t } = useLanguage();
  return (
    <nav className="fd-palette" aria-label={t("palette.title")}>
      <h2>{t("palette.title")}</h2>
      {PALETTE.map((type) => {
        const { icon: Icon, name, hint, hue } = LOOKS[type];
        return (
          <button
            key={type} type="button" draggable title={t(hint)} style={{ "--hue": hue } as React.CSSProperties} data-add={type}
            onClick={() => onAdd(type)}
            onDragStart={(event) => {
              event.dataTransfer.setData(DRAG_TYPE, type);
              event.dataTransfer.effectAllowed = "move";
            }}
          >
            <span className="fd-tile"><Icon size={16} aria-hidden="true" /></span>
            <span><strong>{t(name)}</strong><small>{t(hint)}</small></span>
          </button>
        );
      })}
      <p className="fd-hint">{t("palette.hint")}</p>
    </nav>
  );
}
