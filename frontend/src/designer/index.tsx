/** The designer's page: `<div id="designer" data-flow-id data-api data-csrf data-locale data-can-edit data-can-publish data-templates-url>`. */
import { ReactFlowProvider } from "@xyflow/react";
import { createRoot } from "react-dom/client";
import { localeOf, translator } from "../i18n";
import { LanguageContext } from "../i18n/react";
import { createApi } from "../shared/http";
import "../shared/tokens.css";
import { Designer } from "./Designer";
import "./designer.css";
import "./panel/panel.css";

const isOn = (value: string | undefined): boolean => value !== undefined && !["", "0", "false", "False"].includes(value);
/** Below this the canvas is of no use and the page scrolls instead. */
const LOWEST_PX = 460;

const mount = document.getElementById("designer");
if (mount) {
  const { flowId = "", api = "/flows", csrf = "", locale: language, canEdit, canPublish, templatesUrl = "/templates", backUrl } = mount.dataset;
  const locale = localeOf(language);
  const base = api.replace(/\/$/, "");
  // The designer fills the window from where the page has put it.
  const measure = () => {
    const top = mount.getBoundingClientRect().top + window.scrollY;
    mount.style.setProperty("--fd-height", `${Math.max(LOWEST_PX, window.innerHeight - top - (window.innerWidth > 820 ? 16 : 0))}px`);
  };
  measure();
  window.addEventListener("resize", measure);
  createRoot(mount).render(
    <LanguageContext value={{ locale, t: translator(locale) }}>
      <ReactFlowProvider>
        <Designer
          api={createApi(csrf)} flowUrl={`${base}/${encodeURIComponent(flowId)}`} simulationsUrl={base.replace(/flows$/, "simulations")} templatesUrl={templatesUrl}
          canEdit={isOn(canEdit)} canPublish={isOn(canPublish)} back={backUrl ?? null}
        />
      </ReactFlowProvider>
    </LanguageContext>,
  );
}
