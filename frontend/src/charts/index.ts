/**
 * Charts of the pages: `<canvas data-chart='{"type":"bar","data":{…},"options":{…}}'>`, drawn in the theme's colours.
 *
 * Only the parts in use are bundled: bars, lines, doughnuts. A data set may choose its colour by `"color": 0…7`.
 */
import {
  ArcElement, BarController, BarElement, CategoryScale, Chart, DoughnutController, Filler, Legend, LinearScale, LineController, LineElement, PointElement, Tooltip,
  type ChartConfiguration, type ChartDataset,
} from "chart.js";
import { localeOf, translator } from "../i18n";
import { isRecord } from "../shared/http";
import "../shared/tokens.css";

Chart.register(ArcElement, BarController, BarElement, CategoryScale, DoughnutController, Filler, Legend, LinearScale, LineController, LineElement, PointElement, Tooltip);

const SERIES = {
  light: ["#4f46e5", "#0ea5e9", "#10b981", "#f59e0b", "#ef4444", "#8b5cf6", "#ec4899", "#64748b"],
  dark: ["#818cf8", "#38bdf8", "#34d399", "#fbbf24", "#f87171", "#a78bfa", "#f472b6", "#94a3b8"],
};

const drawn = new Map<HTMLCanvasElement, Chart>();

function draw(canvas: HTMLCanvasElement): void {
  const style = getComputedStyle(document.documentElement);
  const token = (name: string) => style.getPropertyValue(name).trim();
  const locale = localeOf(canvas.dataset.locale ?? document.documentElement.lang);
  let config: ChartConfiguration;
  try {
    config = JSON.parse(canvas.dataset.chart ?? "") as ChartConfiguration;
    if (!isRecord(config) || !isRecord(config.data)) throw new Error("no data");
  } catch {
    const note = document.createElement("p");
    note.textContent = translator(locale)("chart.failed");
    canvas.replaceWith(note);
    return;
  }
  const before = drawn.get(canvas);
  before?.destroy();
  const colours = SERIES[document.documentElement.dataset.theme === "dark" ? "dark" : "light"];
  const type = (config as { type: string }).type === "pie" ? "doughnut" : (config as { type: string }).type;
  const round = type === "doughnut";
  const datasets = config.data.datasets.map((set, index) => {
    const colour = colours[((set as { color?: number }).color ?? index) % colours.length]!;
    const perItem = round || (set as { colors?: boolean }).colors === true;
    const base = perItem ? config.data.labels?.map((_, place) => colours[place % colours.length]!) : colour;
    return {
      ...(type === "bar" ? { borderRadius: 6, maxBarThickness: 44 } : {}),
      ...(type === "line" ? { borderWidth: 2.5, tension: 0.35, fill: true, pointRadius: 0, pointHoverRadius: 5, backgroundColor: `${colour}22`, borderColor: colour } : { backgroundColor: base }),
      ...(round ? { borderColor: token("--em-surface"), borderWidth: 3, hoverOffset: 4 } : {}),
      ...set,
    } as ChartDataset;
  });
  const axis = { grid: { color: token("--em-border") }, border: { display: false }, ticks: { color: token("--em-muted"), padding: 6 } };
  const own = config.options ?? {};
  const chart = new Chart(canvas, {
    type: type as "bar",
    data: { ...config.data, datasets: datasets as ChartDataset<"bar">[] },
    options: {
      responsive: true, maintainAspectRatio: false, locale, color: token("--em-muted"),
      font: { family: token("--em-font"), size: 12 },
      animation: window.matchMedia("(prefers-reduced-motion: reduce)").matches || before ? false : { duration: 350 },
      interaction: round ? { mode: "nearest", intersect: true } : { mode: "index", intersect: false },
      ...(round ? { cutout: "68%" } : { scales: { x: { ...axis, grid: { display: false } }, y: { ...axis, beginAtZero: true, ticks: { ...axis.ticks, precision: 0, maxTicksLimit: 6 } } } }),
      ...(own as object),
      plugins: {
        legend: { display: round || datasets.length > 1, position: round ? "right" : "top", align: "start", labels: { usePointStyle: true, pointStyle: "circle", boxHeight: 7, boxWidth: 7, padding: 14, color: token("--em-muted") } },
        tooltip: { backgroundColor: "#0f172a", titleColor: "#f8fafc", bodyColor: "#e2e8f0", padding: 10, cornerRadius: 8, boxPadding: 5, usePointStyle: true },
        ...(own.plugins as object | undefined),
      },
    },
  });
  drawn.set(canvas, chart as Chart);
  if (!canvas.hasAttribute("role")) canvas.setAttribute("role", "img");
}

function drawAll(): void {
  for (const canvas of document.querySelectorAll<HTMLCanvasElement>("canvas[data-chart]")) draw(canvas);
}

drawAll();
// Letters drawn before the font has come would stay in another one.
void document.fonts?.ready.then(drawAll);
// A page that refreshes itself writes the new data into the attribute.
new MutationObserver((changes) => {
  for (const target of new Set(changes.map((change) => change.target))) if (target instanceof HTMLCanvasElement) draw(target);
}).observe(document.body, { attributes: true, attributeFilter: ["data-chart"], subtree: true });
new MutationObserver(drawAll).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
// A page that refreshes its numbers writes them into the attribute.
new MutationObserver((changes) => {
  for (const { target } of changes) if (target instanceof HTMLCanvasElement) draw(target);
}).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["data-chart"] });
