/** The frame: menu on phones, light and dark, notices, keys. */
import { all, delegate, one } from "./dom";

const FADES_AFTER_MS = 6_000;
type Theme = "auto" | "light" | "dark";

export function startShell(): void {
  startMenu();
  startTheme();
  startFlashes();
  startKeys();
  one("[data-focus]")?.focus();
}

function startMenu(): void {
  const button = one("[data-open-menu]");
  const scrim = one("[data-close-menu]");
  const setOpen = (open: boolean): void => {
    document.body.classList.toggle("menu-open", open);
    button?.setAttribute("aria-expanded", String(open));
    if (scrim) scrim.hidden = !open;
    if (open) one("#sidebar a")?.focus();
  };
  button?.addEventListener("click", () => setOpen(!document.body.classList.contains("menu-open")));
  scrim?.addEventListener("click", () => setOpen(false));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.body.classList.contains("menu-open")) {
      setOpen(false);
      button?.focus();
    }
  });
  // One open menu at a time, and a click beside it closes it.
  document.addEventListener("click", (event) => {
    for (const menu of all<HTMLDetailsElement>("details.menu[open]")) {
      if (!(event.target instanceof Node) || !menu.contains(event.target)) menu.open = false;
    }
  });
}

function keptTheme(): Theme {
  try {
    const kept = localStorage.getItem("embudo-theme");
    return kept === "light" || kept === "dark" ? kept : "auto";
  } catch {
    return "auto";
  }
}

function startTheme(): void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let choice = keptTheme();
  const apply = (): void => {
    const dark = choice === "dark" || (choice === "auto" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    document.documentElement.dataset.themeChoice = choice;
    for (const button of all("[data-theme-switch]")) {
      const words = button.dataset[choice] ?? choice;
      button.title = words;
      const icon = { auto: "fa-circle-half-stroke", light: "fa-sun", dark: "fa-moon" }[choice];
      one("i", button)?.setAttribute("class", `fa ${icon}`);
    }
  };
  delegate("click", "[data-theme-switch]", () => {
    // The first press must be seen: from the system's choice to the other one, then back, then to the system again.
    const round: Theme[] = system.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    choice = round[(round.indexOf(choice) + 1) % round.length]!;
    try {
      if (choice === "auto") localStorage.removeItem("embudo-theme");
      else localStorage.setItem("embudo-theme", choice);
    } catch {
      // Without storage the choice lasts until the next page.
    }
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}

function startFlashes(): void {
  delegate("click", "[data-dismiss-flash]", (button) => button.closest(".flash")?.remove());
  for (const flash of all(".flash[data-fades]")) setTimeout(() => flash.remove(), FADES_AFTER_MS);
}

function startKeys(): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing) {
      const search = one<HTMLInputElement>("[data-search-focus]");
      if (search) {
        event.preventDefault();
        search.focus();
        search.select();
      }
    }
    if (event.key === "Escape") {
      const open = one<HTMLDetailsElement>("details.menu[open]");
      if (open) {
        open.open = false;
        one("summary", open)?.focus();
      }
    }
  });
}
