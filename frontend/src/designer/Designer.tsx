/** The flow designer: palette, canvas, the form of what is selected, and the simulator, around one document. */
import { useReactFlow } from "@xyflow/react";
import { Plus, X } from "lucide-react";
import { useCallback, useEffect, useMemo, useRef, useState, type ReactNode } from "react";
import { useLanguage } from "../i18n/react";
import { ApiError, type Api, type Problem } from "../shared/http";
import { toast } from "../shared/toast";
import { Canvas } from "./Canvas";
import { CanvasTools, NodeSearch } from "./CanvasTools";
import { DesignerContext, type DesignerScope } from "./context";
import { Dialog, type Question } from "./Dialog";
import {
  addNode, createNode, duplicateNodes, exitsOf, findNode, hasContent, linksOf, readDocument, removeNodes, setExit, targetOf, type FlowDocument, type NodeType, type Point,
} from "./document";
import { EmptyState } from "./EmptyState";
import { allPages, useFlow, type Template } from "./flow";
import { JsonView } from "./JsonView";
import { arrange, heightOf, NODE_WIDTH } from "./layout";
import { Notices } from "./Notices";
import { Palette } from "./Palette";
import { NodePanel } from "./panel/NodePanel";
import { nodeOf, ProblemsPanel } from "./panel/ProblemsPanel";
import { SettingsPanel } from "./panel/SettingsPanel";
import { VersionsPanel } from "./panel/VersionsPanel";
import { useShortcuts } from "./shortcuts";
import { Simulator } from "./Simulator";
import { Toolbar, type PanelName } from "./Toolbar";
import { useViewport } from "./viewport";

export interface DesignerProps {
  api: Api;
  flowUrl: string;
  simulationsUrl: string;
  templatesUrl: string;
  canEdit: boolean;
  canPublish: boolean;
  back: string | null;
}

const ADDED_GAP = 112;

export function Designer({ api, flowUrl, simulationsUrl, templatesUrl, canEdit, canPublish, back }: DesignerProps) {
  const { t } = useLanguage();
  const flow = useFlow(api, flowUrl);
  const canvas = useReactFlow();
  const main = useRef<HTMLDivElement>(null);
  const [selection, setSelection] = useState<string[]>([]);
  const [edgeSelection, setEdgeSelection] = useState<string[]>([]);
  const [panel, setPanel] = useState<PanelName | null>(null);
  const [trying, setTrying] = useState(false);
  const [current, setCurrent] = useState<string | null>(null);
  const [view, setView] = useState<"canvas" | "json">("canvas");
  const [adding, setAdding] = useState(false);
  const [viewed, setViewed] = useState<{ number: number; document: FlowDocument } | null>(null);
  const [question, setQuestion] = useState<Question | null>(null);
  const [templates, setTemplates] = useState<Template[] | null>(null);

  const document_ = viewed?.document ?? flow.draft.document;
  const readOnly = !canEdit || viewed !== null;
  const { edit, undo } = flow;

  useEffect(() => {
    allPages<Template>(api, templatesUrl).then(setTemplates, () => setTemplates(null));
  }, [api, templatesUrl]);

  const select = useCallback((nodes: string[], edges: string[]) => {
    setSelection(nodes);
    setEdgeSelection(edges);
    if (nodes.length) setPanel(null);
  }, []);

  const latest = useRef(document_);
  useEffect(() => {
    latest.current = document_;
  }, [document_]);

  const viewport = useViewport(main, latest);
  const { reveal, centre, frame } = viewport;
  const focusNode = useCallback(
    (id: string) => {
      setView("canvas");
      select([id], []);
      centre(id);
    },
    [centre, select],
  );

  const add = useCallback(
    (type: NodeType, position: Point, from?: { id: string; exit: string }) => {
      if (readOnly) return;
      const { document, id } = addNode(latest.current, type, position, from);
      edit(() => document);
      setAdding(false);
      select([id], []);
    },
    [edit, readOnly, select],
  );

  /** From the palette: after the selected step where it has a way out left, else in the middle of what is seen. */
  const append = useCallback(
    (type: NodeType) => {
      const value = latest.current;
      const before = selection.length === 1 ? findNode(value, selection[0]) : undefined;
      // A free way out, failures aside; or the ordinary one: then the new step goes in between.
      const exits = before ? exitsOf(before).filter((exit) => exit.kind !== "failed" && exit.kind !== "timeout") : [];
      const free = before && (exits.find((exit) => !targetOf(before, exit.key)) ?? exits.find((exit) => exit.key === "next"));
      const box = main.current?.getBoundingClientRect();
      let place: Point;
      if (before && free) place = { x: before.position.x + NODE_WIDTH + ADDED_GAP, y: before.position.y };
      else if (!value.nodes.length) place = { x: 0, y: 0 };
      else {
        const middle = canvas.screenToFlowPosition({ x: (box?.left ?? 0) + (box?.width ?? 0) / 2, y: (box?.top ?? 0) + (box?.height ?? 0) / 2 });
        place = { x: middle.x - NODE_WIDTH / 2, y: middle.y - 60 };
      }
      const height = heightOf(createNode(type, "", place, ""));
      const covered = (point: Point) =>
        value.nodes.some((node) => Math.abs(node.position.x - point.x) < NODE_WIDTH && point.y < node.position.y + heightOf(node) + 20 && node.position.y < point.y + height + 20);
      while (covered(place)) place = { ...place, y: place.y + 60 };
      add(type, place, before && free ? { id: before.id, exit: free.key } : undefined);
    },
    [add, canvas, selection],
  );

  const removeSelected = useCallback(
    (ids: readonly string[], links: readonly string[] = []) => {
      if (readOnly || (!ids.length && !links.length)) return;
      const written = ids.some((id) => {
        const node = findNode(latest.current, id);
        return node && hasContent(node);
      });
      edit((now) => {
        let next = now;
        for (const link of linksOf(now)) if (links.includes(link.id)) next = setExit(next, link.source, link.exit, null);
        return ids.length ? removeNodes(next, ids) : next;
      });
      select([], []);
      if (written) toast(t("designer.deleted", { n: ids.length }), { action: { label: t("designer.undo"), run: undo } });
    },
    [edit, readOnly, select, t, undo],
  );
  const duplicate = useCallback(
    (ids: readonly string[]) => {
      if (readOnly || !ids.length) return;
      const { document, ids: copies } = duplicateNodes(latest.current, ids);
      edit(() => document);
      select(copies, []);
    },
    [edit, readOnly, select],
  );

  const problems = useMemo(() => (viewed ? [] : flow.problems), [viewed, flow.problems]);
  const byNode = useMemo(() => {
    const map = new Map<string, Problem[]>();
    for (const problem of problems) map.set(nodeOf(problem), [...(map.get(nodeOf(problem)) ?? []), problem]);
    return map;
  }, [problems]);
  const general = problems.filter((problem) => !findNode(document_, nodeOf(problem)));

  const scope: DesignerScope = useMemo(
    () => ({ document: document_, readOnly, problems: byNode, templates, edit, focusNode, removeSelected, duplicate }),
    [document_, readOnly, byNode, templates, edit, focusNode, removeSelected, duplicate],
  );

  const tidy = () => {
    const heights = new Map(canvas.getNodes().map((node) => [node.id, node.measured?.height ?? 0] as const).filter(([, height]) => height > 0));
    edit((now) => arrange(now, heights));
    frame("all");
  };

  const start = useCallback(() => frame("start"), [frame]);
  const selected = selection.length === 1 ? selection[0] : undefined;
  useEffect(() => {
    if (selected !== undefined && panel === null) reveal(selected);
  }, [selected, panel, reveal]);

  useEffect(() => {
    if (trying && current !== null) reveal(current);
  }, [trying, current, reveal]);

  const closePanel = () => {
    setPanel(null);
    select([], []);
  };
  useShortcuts(view === "canvas" && !question, {
    undo: readOnly ? () => undefined : flow.undo, redo: readOnly ? () => undefined : flow.redo,
    remove: () => removeSelected(selection, edgeSelection), duplicate: () => duplicate(selection), save: () => void flow.retry(),
    search: () => document.getElementById("fd-search")?.focus(),
    escape: () => { if (adding) setAdding(false); else closePanel(); },
    all: () => select(document_.nodes.map((node) => node.id), []),
    form: () => document.querySelector<HTMLElement>("[data-panel-title]")?.focus(),
  });

  const publish = () =>
    setQuestion({
      title: t("publish.title"), confirm: t("publish.do"),
      body: <><p>{t("publish.body")}</p>{problems.length > 0 && <p className="fd-problem is-warning">{t("publish.warnings", { n: problems.length })}</p>}</>,
      run: async () => {
        try {
          const version = await flow.publish();
          toast(t("publish.done", { n: version.number }), { kind: "success" });
        } catch (error) {
          if (error instanceof ApiError && error.status === 422) setPanel("problems");
          toast((error instanceof ApiError && (error.problems[0]?.message || error.message)) || t("publish.failed"), { kind: "error" });
        }
      },
    });
  const look = async (number: number) => {
    try {
      const { data } = await api<{ document: unknown }>("GET", `${flowUrl}/versions/${number}`);
      select([], []);
      setViewed({ number, document: readDocument(data.document) });
      frame("all");
    } catch {
      toast(t("versions.failed"), { kind: "error" });
    }
  };
  const restore = (number: number) =>
    setQuestion({
      title: t("versions.restoreTitle", { n: number }), confirm: t("versions.restoreDo"), body: <p>{t("versions.restoreBody")}</p>,
      run: async () => {
        try {
          await flow.restore(number);
          setViewed(null);
          frame("all");
          toast(t("versions.restored", { n: number }), { kind: "success", action: { label: t("designer.undo"), run: undo } });
        } catch (error) {
          toast((error instanceof ApiError && error.status === 412 && t("save.conflict")) || (error instanceof Error && error.message) || t("versions.failed"), { kind: "error" });
        }
      },
    });

  if (flow.loaded === "loading") return <div className="fd-wait" role="status">{t("designer.loading")}</div>;
  if (flow.loaded instanceof ApiError) {
    return (
      <div className="fd-wait" role="alert">
        <p>{flow.loaded.status === 404 ? t("designer.notFound") : flow.loaded.message || t("designer.loadFailed")}</p>
        <button type="button" className="fd-btn is-primary" onClick={() => void flow.load()}>{t("designer.retry")}</button>
      </div>
    );
  }

  const chosen = selection.length === 1 ? findNode(document_, selection[0]) : undefined;
  let side: ReactNode = null;
  if (panel === "settings") side = <SettingsPanel name={flow.draft.name} rename={flow.rename} general={general} />;
  else if (panel === "problems") side = <ProblemsPanel problems={problems} onFlow={() => setPanel("settings")} />;
  else if (panel === "versions") side = <VersionsPanel api={api} url={flowUrl} current={flow.published?.number ?? null} viewing={viewed?.number ?? null} canRestore={canEdit} onView={(n) => void look(n)} onRestore={restore} />;
  else if (chosen && view === "canvas") side = <NodePanel key={chosen.id} node={chosen} />;

  return (
    <DesignerContext value={scope}>
      <div className={`fd ${trying ? "is-trying" : ""}`}>
        <Toolbar
          flow={flow} readOnly={readOnly} canPublish={canPublish} back={back} problems={problems} panel={panel} trying={trying} view={view}
          onPanel={(name) => setPanel(panel === name ? null : name)} onTry={() => { if (!trying) closePanel(); setTrying(!trying); }} onView={setView} onPublish={publish}
        />
        <Notices flow={flow} viewed={viewed?.number ?? null} canRestore={canEdit} onBack={() => { setViewed(null); frame("all"); }} onRestore={() => viewed && restore(viewed.number)} ask={setQuestion} />
        <div className="fd-main">
          {!readOnly && view === "canvas" && <Palette onAdd={append} />}
          <div className="fd-stage" ref={main}>
            {view === "json" ? <JsonView /> : (
              <>
                <Canvas selection={selection} edgeSelection={edgeSelection} current={current} minimap={document_.nodes.length > 3} onSelect={select} onAdd={add} onReady={start} />
                {document_.nodes.length === 0 && <EmptyState readOnly={readOnly} onAdd={append} />}
                {document_.nodes.length > 0 && <NodeSearch />}
                <CanvasTools onTidy={tidy} onFit={() => frame("all")} />
                {!readOnly && <button type="button" className="fd-fab" aria-expanded={adding} aria-label={t("palette.title")} onClick={() => setAdding(!adding)}>{adding ? <X size={24} /> : <Plus size={24} />}</button>}
                {adding && <div className="fd-sheet-palette"><Palette onAdd={append} /></div>}
              </>
            )}
          </div>
          {side && (
            <aside className="fd-side" aria-label={t("designer.panel")}>
              <button type="button" className="fd-icon fd-close" aria-label={t("designer.close")} title={t("designer.close")} onClick={closePanel}><X size={18} /></button>
              {side}
            </aside>
          )}
          {trying && (
            <aside className="fd-phone" aria-label={t("try.title")}>
              <Simulator api={api} flowUrl={flowUrl} simulationsUrl={simulationsUrl} document={document_} name={flow.draft.name} onNode={setCurrent} onClose={() => setTrying(false)} />
            </aside>
          )}
        </div>
      </div>
      {question && <Dialog question={question} onClose={() => setQuestion(null)} />}
    </DesignerContext>
  );
}
