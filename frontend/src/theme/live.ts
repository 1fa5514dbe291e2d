/** The home page keeps its numbers fresh, and the status page all of it, while somebody looks at it. */
import { one } from "./dom";

const EVERY_MS = 10_000;

interface Live {
  cards: { key: string; value: string; hint: string; hidden: boolean }[];
  charts: { key: string; empty: boolean; config: unknown }[];
  health: { label: string; level: string; text: string }[];
}

export function startLive(): void {
  const page = one("[data-live]");
  const url = page?.dataset.live;
  if (!page || !url) return;
  const refresh = async (): Promise<void> => {
    if (document.hidden) return;
    try {
      const response = await fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(8_000) });
      if (!response.ok || response.redirected) return;
      show(page, (await response.json()) as Live);
    } catch {
      // The next round tries again; old numbers are better than an error.
    }
  };
  setInterval(() => void refresh(), EVERY_MS);
  document.addEventListener("visibilitychange", () => void refresh());
}

/** A part of a page that the server renders anew. */
export function startFresh(): void {
  const part = one("[data-fresh]");
  const url = part?.dataset.fresh;
  if (!part || !url) return;
  const refresh = async (): Promise<void> => {
    // Who has a link in there under their fingers keeps it.
    if (document.hidden || part.contains(document.activeElement)) return;
    try {
      const response = await fetch(url, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(8_000) });
      if (!response.ok || response.redirected) return;
      const body = new DOMParser().parseFromString(await response.text(), "text/html").body;
      if (body.textContent !== part.textContent) part.replaceChildren(...body.childNodes);
    } catch {
      // As above.
    }
  };
  setInterval(() => void refresh(), EVERY_MS);
  document.addEventListener("visibilitychange", () => void refresh());
}

function show(page: HTMLElement, live: Live): void {
  for (const card of live.cards) {
    const element = one(`[data-card="${CSS.escape(card.key)}"]`, page);
    if (!element) continue;
    element.hidden = card.hidden;
    setText(one("[data-value]", element), card.value);
    setText(one("[data-hint]", element), card.hint);
  }
  for (const chart of live.charts) {
    const box = one(`[data-chart-card="${CSS.escape(chart.key)}"]`, page);
    const canvas = box && one<HTMLCanvasElement>("canvas", box);
    if (!box || !canvas) continue;
    const config = JSON.stringify(chart.config);
    if (canvas.dataset.last !== config) {
      // The server's spelling of the same numbers differs from ours, so the first round only takes note.
      if (canvas.dataset.last !== undefined) canvas.dataset.chart = config;
      canvas.dataset.last = config;
    }
    const [drawing, words] = [one(".chart-box", box), one(".chart-empty", box)];
    if (drawing) drawing.hidden = chart.empty;
    if (words) words.hidden = !chart.empty;
  }
  const list = one("[data-health]", page);
  if (!list || list.childElementCount !== live.health.length) return;
  live.health.forEach((row, index) => {
    const line = list.children[index] as HTMLElement;
    const state = one(".state", line);
    if (state) state.dataset.level = row.level;
    setText(one("strong", line), row.label);
    setText(one(".muted", line), row.text);
  });
}

function setText(element: HTMLElement | null, text: string): void {
  if (element && element.textContent !== text) element.textContent = text;
}
