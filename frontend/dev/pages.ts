/** The pages around the islands, much plainer than the product's. */
export type PageName = "designer" | "chat" | "board" | "charts";

const escape = (text: string) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");

function bodyOf(name: PageName, query: URLSearchParams, locale: string): string {
  switch (name) {
    case "designer":
      return `<div id="designer" data-flow-id="${escape(query.get("flow") ?? "demo")}" data-api="/flows" data-csrf="dev" data-locale="${locale}" ${query.has("readonly") ? "" : "data-can-edit=1 data-can-publish=1"} data-templates-url="/templates"></div>`;
    case "chat":
      return `<div id="chat" data-api="/simulator" data-csrf="dev" data-locale="${locale}" data-channels="${escape('[{"id":"c1","name":"Café Andino"},{"id":"c2","name":"Hotel Mar"}]')}"></div>`;
    case "charts":
      return [
        { type: "bar", data: { labels: ["Ene", "Feb", "Mar", "Abr"], datasets: [{ label: "Nuevos", data: [12, 19, 8, 22] }, { label: "Ganados", color: 2, data: [3, 7, 4, 9] }] } },
        { type: "line", data: { labels: ["L", "M", "X", "J", "V", "S", "D"], datasets: [{ label: "Mensajes", data: [120, 190, 80, 220, 260, 90, 40] }] } },
        { type: "doughnut", data: { labels: ["WhatsApp", "Web", "Correo"], datasets: [{ data: [60, 25, 15] }] } },
      ].map((chart) => `<div style="height:260px;margin:12px;max-width:640px"><canvas data-chart="${escape(JSON.stringify(chart))}" aria-label="chart"></canvas></div>`).join("");
    case "board":
      return `<div data-board data-csrf="dev" data-locale="${locale}" style="display:flex;gap:12px;overflow:auto">${["new", "contacted", "won"].map((stage, column) => `<section data-board-column="${stage}" aria-label="${stage}" style="min-width:220px;background:var(--em-sunken);padding:10px;border-radius:12px"><header>${stage} <span data-board-count>2</span></header><div data-board-cards>${[1, 2].map((n) => `<article data-board-card data-name="Ana ${column}${n}" data-url="/leads/${column}${n}" data-etag='"1"' style="background:var(--em-raised);border:1px solid var(--em-border);border-radius:10px;padding:12px;margin:8px 0"><strong>Ana ${column}${n}</strong></article>`).join("")}</div></section>`).join("")}</div>`;
  }
}

export function page(name: PageName, query: URLSearchParams, tags: string): string {
  const locale = query.get("locale") === "en" ? "en" : "es";
  const dark = query.get("theme") === "dark";
  return `<!doctype html><html lang="${locale}" ${dark ? 'data-theme="dark"' : ""}><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${name}</title><link rel="icon" href="data:,"><style>html{font-size:10px}body{margin:0;background:${dark ? "#0b0f19" : "#f5f6f9"};font-family:"Inter Variable",sans-serif}main{padding:${name === "designer" ? "12px" : "16px"}}@media(max-width:820px){main{padding:${name === "designer" ? "0" : "10px"}}}</style>
${tags}</head><body><main>${bodyOf(name, query, locale)}</main></body></html>`;
}
