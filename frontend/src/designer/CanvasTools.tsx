/** Zoom, fit, tidy and search, over the canvas. */
import { useReactFlow } from "@xyflow/react";
import { LayoutGrid, Maximize, Minus, Plus, Search } from "lucide-react";
import { useState } from "react";
import { useLanguage } from "../i18n/react";
import { LOOKS, previewOf, searchNodes } from "./catalogue";
import { useDesigner } from "./context";

export const calm = (): boolean => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
export const MOVE_MS = 250;

export function CanvasTools({ onTidy, onFit }: { onTidy: () => void; onFit: () => void }) {
  const { t } = useLanguage();
  const { readOnly } = useDesigner();
  const view = useReactFlow();
  const duration = calm() ? 0 : MOVE_MS;
  return (
    <div className="fd-tools" role="toolbar" aria-label={t("canvas.tools")}>
      <button type="button" className="fd-icon" onClick={() => void view.zoomOut({ duration })} aria-label={t("canvas.zoomOut")} title={t("canvas.zoomOut")}><Minus size={17} /></button>
      <button type="button" className="fd-icon" onClick={() => void view.zoomIn({ duration })} aria-label={t("canvas.zoomIn")} title={t("canvas.zoomIn")}><Plus size={17} /></button>
      <button type="button" className="fd-icon" onClick={onFit} aria-label={t("canvas.fit")} title={t("canvas.fit")}><Maximize size={16} /></button>
      {!readOnly && <button type="button" className="fd-icon" onClick={onTidy} aria-label={t("canvas.tidy")} title={t("canvas.tidy")}><LayoutGrid size={16} /></button>}
    </div>
  );
}

const RESULTS_AT_MOST = 8;

export function NodeSearch() {
  const { t } = useLanguage();
  const { document, focusNode } = useDesigner();
  const [query, setQuery] = useState("");
  const [active, setActive] = useState(0);
  const found = query.trim() ? searchNodes(document.nodes, query, t).slice(0, RESULTS_AT_MOST) : [];
  const pick = (index: number) => {
    const node = found[index];
    if (!node) return;
    setQuery("");
    focusNode(node.id);
  };
  return (
    <div className="fd-search" role="search">
      <Search size={15} aria-hidden="true" />
      <input
        id="fd-search" type="text" role="combobox" value={query} placeholder={t("canvas.search")} aria-label={t("canvas.search")} autoComplete="off"
        aria-expanded={found.length > 0} aria-controls="fd-found" aria-activedescendant={found.length ? `fd-found-${active}` : undefined}
        onChange={(event) => { setQuery(event.target.value); setActive(0); }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") { event.preventDefault(); setActive((active + 1) % Math.max(1, found.length)); }
          if (event.key === "ArrowUp") { event.preventDefault(); setActive((active + found.length - 1) % Math.max(1, found.length)); }
          if (event.key === "Enter") pick(active);
          if (event.key === "Escape") { event.stopPropagation(); setQuery(""); event.currentTarget.blur(); }
        }}
      />
      {query.trim() && (
        <ul id="fd-found" role="listbox" aria-label={t("canvas.search")}>
          {found.map((node, index) => {
            const { icon: Icon, name, hue } = LOOKS[node.type];
            return (
              <li key={node.id} id={`fd-found-${index}`} role="option" aria-selected={index === active} style={{ "--hue": hue } as React.CSSProperties} onPointerDown={(event) => { event.preventDefault(); pick(index); }}>
                <span className="fd-tile"><Icon size={14} aria-hidden="true" /></span><span><strong>{t(name)} · {node.id}</strong><small>{previewOf(node, t)}</small></span>
              </li>
            );
          })}
          {!found.length && <li className="fd-hint">{t("canvas.noneFound")}</li>}
        </ul>
      )}
    </div>
  );
}
