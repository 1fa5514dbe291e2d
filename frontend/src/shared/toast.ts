/** Short notices at the foot of the page, read out by screen readers; without React, so that every island can use them. */
import "./tokens.css";
import "./toast.css";

interface ToastOptions {
  kind?: "info" | "success" | "error";
  action?: { label: string; run: () => void };
}

const SHOWN_MS = 5_000;
const SHOWN_WITH_ACTION_MS = 8_000;

let region: HTMLElement | null = null;

export function toast(message: string, { kind = "info", action }: ToastOptions = {}): void {
  if (!region?.isConnected) {
    region = document.createElement("div");
    region.className = "em-toasts";
    region.setAttribute("role", "status");
    region.setAttribute("aria-live", "polite");
    document.body.append(region);
  }
  const item = document.createElement("div");
  item.className = `em-toast em-toast--${kind}`;
  const text = document.createElement("span");
  text.textContent = message;
  item.append(text);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = action.label;
    button.addEventListener("click", () => {
      item.remove();
      action.run();
    });
    item.append(button);
  }
  region.append(item);
  while (region.childElementCount > 3) region.firstElementChild?.remove();
  setTimeout(() => item.remove(), action ? SHOWN_WITH_ACTION_MS : SHOWN_MS);
}
