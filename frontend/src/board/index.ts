/**
 * The kanban board: the server renders columns and cards, this lets them be moved by mouse, touch and keyboard.
 *
 * Markup: `<div data-board data-csrf data-locale>` with columns `data-board-column="<stage>"` (named by `aria-label`), each with one
 * `data-board-cards` list of cards `data-board-card data-url data-etag` (named by `data-name`), and optionally `data-board-count`.
 * A card that the server does not take goes back to where it was.
 */
import Sortable from "sortablejs/modular/sortable.core.esm.js";
import { localeOf, translator, type Translate } from "../i18n";
import { ApiError, createApi, type Api } from "../shared/http";
import { toast } from "../shared/toast";
import "./board.css";

/** Long enough on touch to tell a drag from scrolling. */
const TOUCH_DELAY_MS = 180;

export function mountBoard(board: HTMLElement, api: Api = createApi(board.dataset.csrf ?? "")): void {
  const t = translator(localeOf(board.dataset.locale ?? document.documentElement.lang));
  const live = document.createElement("div");
  live.className = "em-board-live";
  live.setAttribute("aria-live", "assertive");
  const help = document.createElement("p");
  help.id = "em-board-help";
  help.className = "em-board-live";
  help.textContent = t("board.help");
  board.append(live, help);

  for (const list of board.querySelectorAll<HTMLElement>("[data-board-cards]")) {
    if (board.dataset.readonly !== undefined) break;
    Sortable.create(list, {
      group: "board", sort: false, animation: 150, draggable: "[data-board-card]", delay: TOUCH_DELAY_MS, delayOnTouchOnly: true, touchStartThreshold: 6,
      ghostClass: "em-board-ghost", dragClass: "em-board-drag", filter: "[data-board-fixed]", preventOnFilter: false, scroll: true, bubbleScroll: true,
      onStart: () => board.classList.add("is-dragging"),
      onEnd: (event) => {
        board.classList.remove("is-dragging");
        if (event.from !== event.to) {
          const before = event.from.querySelectorAll<HTMLElement>(":scope > [data-board-card]")[event.oldDraggableIndex ?? 0] ?? null;
          void settle(event.item, { list: event.from, before }, api, t, live);
        }
      },
    });
  }
  for (const card of board.querySelectorAll<HTMLElement>("[data-board-card]")) {
    if (!card.hasAttribute("tabindex")) card.tabIndex = 0;
    card.setAttribute("aria-describedby", help.id);
  }
  board.addEventListener("keydown", (event) => {
    const card = (event.target as HTMLElement).closest<HTMLElement>("[data-board-card]");
    if (!card || board.dataset.readonly !== undefined || !event.altKey || (event.key !== "ArrowLeft" && event.key !== "ArrowRight")) return;
    event.preventDefault(); // Alt and an arrow would leave the page
    const columns = [...board.querySelectorAll<HTMLElement>("[data-board-column]")];
    const from = card.closest<HTMLElement>("[data-board-cards]");
    const target = columns[columns.findIndex((column) => column.contains(card)) + (event.key === "ArrowRight" ? 1 : -1)]?.querySelector<HTMLElement>("[data-board-cards]");
    if (!from) return;
    if (!target) {
      live.textContent = t("board.edge", { card: nameOf(card) });
      return;
    }
    const before = card.nextElementSibling as HTMLElement | null;
    target.prepend(card);
    card.focus();
    card.scrollIntoView({ block: "nearest", inline: "center" });
    void settle(card, { list: from, before }, api, t, live);
  });
  recount(board);
}

async function settle(card: HTMLElement, origin: { list: HTMLElement; before: HTMLElement | null }, api: Api, t: Translate, live: HTMLElement): Promise<void> {
  const column = card.closest<HTMLElement>("[data-board-column]");
  const board = card.closest<HTMLElement>("[data-board]");
  if (!column || !board || !card.dataset.url) return;
  const names = { card: nameOf(card), column: nameOf(column) };
  recount(board);
  live.textContent = t("board.moving", names);
  card.classList.add("is-saving");
  card.dataset.boardFixed = "";
  try {
    const { etag, data } = await api<{ version?: number } | undefined>("PATCH", card.dataset.url, { body: { stage: column.dataset.boardColumn }, ifMatch: card.dataset.etag });
    if (etag) card.dataset.etag = etag;
    else if (data?.version !== undefined) card.dataset.etag = `"${data.version}"`;
    live.textContent = t("board.moved", names);
  } catch (error) {
    const focused = document.activeElement === card;
    origin.list.insertBefore(card, origin.before?.parentElement === origin.list ? origin.before : null);
    if (focused) card.focus();
    recount(board);
    const home = nameOf(origin.list.closest("[data-board-column]"));
    const reason = error instanceof ApiError ? error.problems[0]?.message || error.message : "";
    const conflict = error instanceof ApiError && error.status === 412;
    const message = conflict ? t("board.conflict", names) : `${t("board.failed", { card: names.card, column: home })}${reason ? `: ${reason}` : ""}`;
    live.textContent = message;
    toast(message, { kind: "error" });
  } finally {
    card.classList.remove("is-saving");
    delete card.dataset.boardFixed;
  }
}

function nameOf(element: Element | null): string {
  if (!(element instanceof HTMLElement)) return "";
  return element.dataset.name ?? element.getAttribute("aria-label") ?? element.querySelector("h2, h3, h4, strong, a")?.textContent?.trim() ?? "";
}

/** A column shows at most one page of its cards, so counts are moved by one rather than counted anew. */
function recount(board: HTMLElement): void {
  for (const column of board.querySelectorAll<HTMLElement>("[data-board-column]")) {
    const shown = column.querySelectorAll("[data-board-card]").length;
    const label = column.querySelector<HTMLElement>("[data-board-count]");
    const known = Number(column.dataset.boardShown ?? shown);
    if (label && shown !== known) label.textContent = String(Math.max(0, Number(label.textContent?.replace(/\D/g, "") ?? 0) + shown - known));
    column.dataset.boardShown = String(shown);
    column.toggleAttribute("data-board-empty", shown === 0);
  }
}

for (const board of document.querySelectorAll<HTMLElement>("[data-board]")) mountBoard(board);
