/** Forms: choosing several things by ticking them, showing a password, copying a key, not losing what was typed. */
import { all, delegate, one } from "./dom";

/** With more choices than this, a box to narrow them is worth its room. */
const SEARCH_FROM = 8;

export function startForms(): void {
  for (const select of all<HTMLSelectElement>("select[multiple][data-pick]")) pick(select);
  delegate("click", "[data-reveal]", (button) => {
    const input = document.getElementById(button.dataset.reveal ?? "") as HTMLInputElement | null;
    if (!input) return;
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
  });
  delegate("click", "[data-copy]", (button) => void copy(button));
  guard();
  once();
}

/** A list of checkboxes in front of a <select multiple>, which goes on carrying the values. */
function pick(select: HTMLSelectElement): void {
  const box = document.createElement("div");
  box.className = "picker";
  box.setAttribute("role", "group");
  const label = one(`label[for="${CSS.escape(select.id)}"]`);
  if (label) {
    label.id ||= `${select.id}-label`;
    label.removeAttribute("for");
    box.setAttribute("aria-labelledby", label.id);
  }
  const options = [...select.options];
  const lines = options.map((option) => {
    const line = document.createElement("label");
    line.className = "check";
    const tick = document.createElement("input");
    tick.type = "checkbox";
    tick.checked = option.selected;
    tick.addEventListener("change", () => (option.selected = tick.checked));
    line.append(tick, ` ${option.text}`);
    return line;
  });
  if (options.length >= SEARCH_FROM) {
    const search = document.createElement("input");
    search.type = "search";
    search.className = "form-control";
    search.placeholder = select.dataset.pick ?? "";
    search.setAttribute("aria-label", search.placeholder);
    search.addEventListener("input", () => {
      const wanted = search.value.toLowerCase();
      lines.forEach((line, index) => (line.hidden = !options[index]!.text.toLowerCase().includes(wanted)));
    });
    box.append(search);
  }
  const list = document.createElement("div");
  list.className = "picker-list";
  list.tabIndex = 0;
  list.append(...lines);
  box.append(list);
  select.hidden = true;
  select.after(box);
}

async function copy(button: HTMLElement): Promise<void> {
  const input = document.getElementById(button.dataset.copy ?? "") as HTMLInputElement | null;
  if (!input) return;
  input.select();
  try {
    await navigator.clipboard.writeText(input.value);
  } catch {
    // Plain http has no clipboard of its own; the text is selected, so Ctrl+C does it.
    if (!document.execCommand("copy")) return;
  }
  const words = one("span", button) ?? button;
  words.textContent = button.dataset.copied ?? words.textContent;
}

/** Leaving a form with changes asks first. */
function guard(): void {
  const form = one<HTMLFormElement>("form[data-guard]");
  if (!form) return;
  let changed = false;
  form.addEventListener("input", () => (changed = true));
  form.addEventListener("submit", () => (changed = false));
  one<HTMLAnchorElement>(".form-buttons a", form)?.addEventListener("click", () => (changed = false));
  window.addEventListener("beforeunload", (event) => {
    if (changed) event.preventDefault();
  });
}

/** A second click on a submit button must not send the form twice. */
function once(): void {
  delegate("submit", "form.model-form", (form) => {
    for (const button of all<HTMLButtonElement>('button[type="submit"]', form)) {
      setTimeout(() => (button.disabled = true));
      setTimeout(() => (button.disabled = false), 8_000);
    }
  });
}
