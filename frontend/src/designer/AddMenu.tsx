/** The nine steps as a list: beside a dropped line, in the palette, and in the sheet of a phone. */
import { useEffect, useRef } from "react";
import { useLanguage } from "../i18n/react";
import { LOOKS, PALETTE } from "./catalogue";
import type { NodeType, Point } from "./document";

export function AddMenu({ at, onPick, onClose }: { at: Point; onPick: (type: NodeType) => void; onClose: () => void }) {
  const { t } = useLanguage();
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    if (!element?.parentElement) return;
    const room = element.parentElement.getBoundingClientRect();
    element.style.left = `${Math.max(8, Math.min(at.x, room.width - element.offsetWidth - 8))}px`;
    element.style.top = `${Math.max(8, Math.min(at.y, room.height - element.offsetHeight - 8))}px`;
    element.querySelector("button")?.focus();
  }, [at]);
  return (
    <div
      ref={box} className="fd-menu" role="menu" aria-label={t("canvas.addHere")}
      onKeyDown={(event) => {
        const buttons = [...event.currentTarget.querySelectorAll("button")];
        const index = buttons.indexOf(document.activeElement as HTMLButtonElement);
        if (event.key === "Escape") { event.stopPropagation(); onClose(); }
        if (event.key === "ArrowDown") { event.preventDefault(); buttons[(index + 1) % buttons.length]?.focus(); }
        if (event.key === "ArrowUp") { event.preventDefault(); buttons.at(index - 1)?.focus(); }
      }}
      onBlur={(event) => { if (!event.currentTarget.contains(event.relatedTarget)) onClose(); }}
    >
      <p>{t("canvas.addHere")}</p>
      {PALETTE.map((type) => {
        const { icon: Icon, name, hue } = LOOKS[type];
        return (
          <button key={type} type="button" role="menuitem" style={{ "--hue": hue } as React.CSSProperties} onClick={() => onPick(type)}>
            <span className="fd-tile"><Icon size={15} aria-hidden="true" /></span>{t(name)}
          </button>
        );
      })}
    </div>
  );
}
