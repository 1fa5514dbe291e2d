/** Lists: questions before deleting, ticking rows, acting on the ticked ones. */
import { all, delegate, one } from "./dom";

export function startLists(): void {
  startQuestions();
  startTicks();
}

/** `data-post` sends a POST to its address; `data-confirm` asks first, for links of ours and submit buttons alike. */
function startQuestions(): void {
  const dialog = one<HTMLDialogElement>("#confirm");
  const form = one<HTMLFormElement>("#confirm-form");
  const text = one("#confirm-text");
  const ok = one<HTMLButtonElement>("[data-ok]");
  if (!dialog || !form || !text || !ok) return;
  let pending: (() => void) | null = null;
  const words = ok.textContent;

  const ask = (question: string, label: string, run: () => void): void => {
    text.textContent = question;
    ok.textContent = label || words;
    pending = run;
    dialog.showModal();
    one("[data-cancel]", dialog)?.focus();
  };
  one("[data-cancel]", dialog)?.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  form.addEventListener("submit", (event) => {
    if (!pending) return;
    event.preventDefault();
    const run = pending;
    pending = null;
    dialog.close();
    run();
  });
  delegate("click", "[data-post]", (button) => {
    const send = (): void => {
      form.action = button.dataset.post ?? "";
      pending = null;
      form.submit();
    };
    const label = button.title || button.textContent?.trim() || "";
    if (button.dataset.confirm) ask(button.dataset.confirm, label, send);
    else send();
  });
  delegate("click", "button[data-confirm]:not([data-post])", (button, event) => {
    const owner = (button as HTMLButtonElement).form;
    if (!owner) return;
    event.preventDefault();
    ask(button.dataset.confirm ?? "", button.textContent?.trim() ?? "", () => {
      const sent = document.createElement("input");
      sent.type = "hidden";
      sent.name = (button as HTMLButtonElement).name;
      sent.value = (button as HTMLButtonElement).value;
      owner.append(sent);
      owner.submit();
    });
  });
}

function startTicks(): void {
  const form = one<HTMLFormElement>("[data-bulk]");
  if (!form) return;
  const bar = one(".bulk-bar", form);
  const count = one("[data-bulk-count]", form);
  const master = one<HTMLInputElement>("[data-tick-all]", form);
  const boxes = all<HTMLInputElement>('input[name="rowid"]', form);
  const refresh = (): void => {
    const ticked = boxes.filter((box) => box.checked);
    for (const box of boxes) box.closest("tr")?.classList.toggle("ticked", box.checked);
    if (bar) bar.hidden = ticked.length === 0;
    if (count) count.textContent = String(ticked.length);
    if (master) {
      master.checked = ticked.length === boxes.length;
      master.indeterminate = ticked.length > 0 && ticked.length < boxes.length;
    }
  };
  master?.addEventListener("change", () => {
    for (const box of boxes) box.checked = master.checked;
    refresh();
  });
  form.addEventListener("change", refresh);
  refresh();
}
