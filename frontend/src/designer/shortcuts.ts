import { useEffect, useRef } from "react";

interface Shortcuts {
  undo: () => void; redo: () => void; remove: () => void; duplicate: () => void; save: () => void;
  search: () => void; escape: () => void; all: () => void; form: () => void;
}

/** The designer's keys. In a text field the browser's own editing keys stay the browser's. */
export function useShortcuts(enabled: boolean, shortcuts: Shortcuts): void {
  const latest = useRef(shortcuts);
  useEffect(() => {
    latest.current = shortcuts;
  });
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const key = event.key.toLowerCase();
      const command = event.ctrlKey || event.metaKey;
      const run = (action: keyof Shortcuts) => {
        event.preventDefault();
        latest.current[action]();
      };
      if (command && key === "s") return run("save");
      if (!enabled || event.defaultPrevented) return;
      const target = event.target as HTMLElement;
      if (target.closest("input, textarea, select, [contenteditable], dialog")) return;
      if (command && key === "z") return run(event.shiftKey ? "redo" : "undo");
      if (command && key === "y") return run("redo");
      if (command && key === "d") return run("duplicate");
      if (command && key === "a" && target.closest(".fd")) return run("all");
      if (command || event.altKey) return;
      if (key === "delete" || key === "backspace") return run("remove");
      if (key === "/") return run("search");
      if (key === "escape") return run("escape");
      if (key === "enter" && target.classList.contains("react-flow__node")) requestAnimationFrame(() => latest.current.form());
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, [enabled]);
}
