import { Eye, History, RotateCcw } from "lucide-react";
import { useEffect, useState } from "react";
import { useLanguage } from "../../i18n/react";
import type { Api } from "../../shared/http";
import { timeZone } from "../../shared/zone";
import { allPages, type Version } from "../flow";

/** What was published and when; any of it can be looked at, and taken back into the draft. */
export function VersionsPanel({ api, url, current, viewing, canRestore, onView, onRestore }: {
  api: Api; url: string; current: number | null; viewing: number | null; canRestore: boolean; onView: (number: number) => void; onRestore: (number: number) => void;
}) {
  const { locale, t } = useLanguage();
  const [versions, setVersions] = useState<Version[] | "loading" | "failed">("loading");
  useEffect(() => {
    let live = true;
    allPages<Version>(api, `${url}/versions`)
      .then((items) => live && setVersions(items.sort((a, b) => b.number - a.number)))
      .catch(() => live && setVersions("failed"));
    return () => void (live = false);
  }, [api, url, current]);
  return (
    <div className="fd-form">
      <div className="fd-form-head"><div><h2 tabIndex={-1} data-panel-title>{t("versions.title")}</h2><p>{t("versions.about")}</p></div></div>
      {versions === "loading" && <p className="fd-hint" role="status">{t("designer.loading")}</p>}
      {versions === "failed" && <p className="fd-problem is-error" role="alert">{t("versions.failed")}</p>}
      {Array.isArray(versions) && !versions.length && <p className="fd-fine"><History size={18} aria-hidden="true" />{t("versions.none")}</p>}
      {Array.isArray(versions) && (
        <ol className="fd-versions">
          {versions.map((version) => (
            <li key={version.number} className={viewing === version.number ? "is-viewed" : ""}>
              <div>
                <strong>{t("versions.number", { n: version.number })}{version.number === current && <span className="fd-pill is-live">{t("versions.live")}</span>}</strong>
                <small>{when(version.published_at, locale)} · {version.published_by}</small>
                {version.note && <small>{version.note}</small>}
              </div>
              <button type="button" className="fd-icon" aria-label={t("versions.view", { n: version.number })} title={t("versions.view", { n: version.number })} onClick={() => onView(version.number)}><Eye size={16} /></button>
              {canRestore && <button type="button" className="fd-icon" aria-label={t("versions.restore", { n: version.number })} title={t("versions.restore", { n: version.number })} onClick={() => onRestore(version.number)}><RotateCcw size={16} /></button>}
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}

export function when(value: string, locale: string): string {
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? value : date.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short", timeZone: timeZone() });
}
