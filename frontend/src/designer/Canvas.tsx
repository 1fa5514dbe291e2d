/** The canvas: draws the document and turns gestures into changes of it. The document is the only state that lasts. */
import {
  Background, BackgroundVariant, ConnectionLineType, MarkerType, MiniMap, ReactFlow, useReactFlow,
  type Connection, type EdgeChange, type FinalConnectionState, type NodeChange, type OnReconnect,
} from "@xyflow/react";
import "@xyflow/react/dist/base.css";
import { useCallback, useMemo, useRef, useState, type DragEvent } from "react";
import { useLanguage } from "../i18n/react";
import { AddMenu } from "./AddMenu";
import { DRAG_TYPE, LOOKS } from "./catalogue";
import { useDesigner } from "./context";
import { isNodeType, linkId, linksOf, setExit, type NodeType, type Point } from "./document";
import { FlowEdge, type CanvasEdge } from "./FlowEdge";
import { FlowNodeView, type CanvasNode } from "./FlowNodeView";
import { NODE_WIDTH } from "./layout";

const nodeTypes = { step: FlowNodeView };
const edgeTypes = { link: FlowEdge };
const NO_PROBLEMS: never[] = [];

interface Props {
  selection: readonly string[];
  edgeSelection: readonly string[];
  current: string | null;
  minimap: boolean;
  onSelect: (nodes: string[], edges: string[]) => void;
  onAdd: (type: NodeType, position: Point, from?: { id: string; exit: string }) => void;
  onReady: () => void;
}

export function Canvas({ selection, edgeSelection, current, minimap, onSelect, onAdd, onReady }: Props) {
  const { t } = useLanguage();
  const { document, readOnly, problems, edit } = useDesigner();
  const { screenToFlowPosition } = useReactFlow();
  const [dragged, setDragged] = useState<ReadonlyMap<string, Point>>(new Map());
  const [measured, setMeasured] = useState<ReadonlyMap<string, { width: number; height: number }>>(new Map());
  const [menu, setMenu] = useState<{ at: Point; flow: Point; from: { id: string; exit: string } } | null>(null);
  const wrapper = useRef<HTMLDivElement>(null);

  // Two steps, so that dragging one node leaves the data of all (and with it their drawing) untouched.
  const data = useMemo(
    () => new Map(document.nodes.map((node) => [node.id, {
      node, problems: problems.get(node.id) ?? NO_PROBLEMS, start: document.start === node.id, current: current === node.id, readOnly,
    }])),
    [document, problems, current, readOnly],
  );
  const nodes = useMemo(
    () => document.nodes.map((node): CanvasNode => ({
      id: node.id, type: "step", position: dragged.get(node.id) ?? node.position, data: data.get(node.id)!,
      selected: selection.includes(node.id), measured: measured.get(node.id),
      ariaLabel: `${t(LOOKS[node.type].name)} ${node.id}`,
    })),
    [document, data, dragged, measured, selection, t],
  );
  const edges = useMemo(
    () => linksOf(document).map((link): CanvasEdge => {
      const selected = edgeSelection.includes(link.id);
      const jump = document.nodes.some((node) => node.id === link.source && node.type === "go_to");
      const live = selected || selection.includes(link.source) || selection.includes(link.target);
      return {
        id: link.id, type: "link", source: link.source, sourceHandle: link.exit, target: link.target, targetHandle: "in", selected,
        className: [jump && "is-jump", live && "is-live", /^(failed|timeout|otherwise)$/.test(link.exit) && "is-else"].filter(Boolean).join(" "),
        markerEnd: { type: MarkerType.ArrowClosed, width: 14, height: 14, color: live ? "var(--em-accent)" : "var(--em-edge)" },
        data: { remove: readOnly ? null : () => edit((value) => setExit(value, link.source, link.exit, null)) },
        ariaLabel: t("canvas.link", { from: link.source, to: link.target }),
      };
    }),
    [document, edgeSelection, selection, readOnly, edit, t],
  );

  const onNodesChange = useCallback(
    (changes: NodeChange<CanvasNode>[]) => {
      let chosen: Set<string> | null = null;
      const sizes: [string, { width: number; height: number }][] = [];
      const moving: [string, Point][] = [];
      const moved: [string, Point][] = [];
      for (const change of changes) {
        if (change.type === "select") {
          chosen ??= new Set(selection);
          if (change.selected) chosen.add(change.id);
          else chosen.delete(change.id);
        } else if (change.type === "dimensions" && change.dimensions) sizes.push([change.id, change.dimensions]);
        else if (change.type === "position" && change.position) (change.dragging ? moving : moved).push([change.id, change.position]);
      }
      if (sizes.length) setMeasured((now) => new Map([...now, ...sizes]));
      if (moving.length) setDragged((now) => new Map([...now, ...moving]));
      if (moved.length) {
        const places = new Map(moved);
        setDragged(new Map());
        edit((value) => {
          const changed = value.nodes.some((node) => {
            const to = places.get(node.id);
            return to && (to.x !== node.position.x || to.y !== node.position.y);
          });
          return changed ? { ...value, nodes: value.nodes.map((node) => ({ ...node, position: places.get(node.id) ?? node.position })) } : value;
        }, `move:${moved.map(([id]) => id).join()}`);
      }
      if (chosen) onSelect([...chosen], []);
    },
    [selection, edit, onSelect],
  );
  const onEdgesChange = useCallback(
    (changes: EdgeChange<CanvasEdge>[]) => {
      const chosen = new Set(edgeSelection);
      for (const change of changes) {
        if (change.type !== "select") continue;
        if (change.selected) chosen.add(change.id);
        else chosen.delete(change.id);
      }
      if (chosen.size !== edgeSelection.length || edgeSelection.some((id) => !chosen.has(id))) onSelect(chosen.size ? [] : [...selection], [...chosen]);
    },
    [edgeSelection, selection, onSelect],
  );
  const connect = useCallback(
    ({ source, sourceHandle, target }: Connection) => {
      if (sourceHandle) edit((value) => setExit(value, source, sourceHandle, target));
    },
    [edit],
  );
  const reconnect: OnReconnect<CanvasEdge> = useCallback(
    (old, fresh) => {
      if (!fresh.sourceHandle) return;
      edit((value) => setExit(setExit(value, old.source, old.sourceHandle ?? "", null), fresh.source, fresh.sourceHandle!, fresh.target));
      onSelect([], [linkId(fresh.source, fresh.sourceHandle)]);
    },
    [edit, onSelect],
  );
  // A line dropped on nothing asks which step to put there.
  const connectEnd = useCallback(
    (event: MouseEvent | TouchEvent, state: FinalConnectionState) => {
      if (readOnly || state.isValid || state.toNode || !state.fromNode || !state.fromHandle?.id || state.fromHandle.type !== "source") return;
      const point = "changedTouches" in event ? event.changedTouches[0] : event;
      const box = wrapper.current?.getBoundingClientRect();
      if (!point || !box) return;
      const flow = screenToFlowPosition({ x: point.clientX, y: point.clientY });
      setMenu({
        at: { x: point.clientX - box.left, y: point.clientY - box.top }, flow: { x: flow.x, y: flow.y - 22 },
        from: { id: state.fromNode.id, exit: state.fromHandle.id },
      });
    },
    [readOnly, screenToFlowPosition],
  );
  const drop = (event: DragEvent) => {
    const type = event.dataTransfer.getData(DRAG_TYPE);
    if (readOnly || !isNodeType(type)) return;
    event.preventDefault();
    const place = screenToFlowPosition({ x: event.clientX, y: event.clientY });
    onAdd(type, { x: place.x - NODE_WIDTH / 2, y: place.y - 22 });
  };

  return (
    <div className="fd-canvas" ref={wrapper} onDragOver={(event) => { if (event.dataTransfer.types.includes(DRAG_TYPE)) event.preventDefault(); }} onDrop={drop}>
      <ReactFlow
        nodes={nodes} edges={edges} nodeTypes={nodeTypes} edgeTypes={edgeTypes}
        onNodesChange={onNodesChange} onEdgesChange={onEdgesChange} onConnect={connect} onReconnect={readOnly ? undefined : reconnect} onConnectEnd={connectEnd}
        onPaneClick={() => { setMenu(null); onSelect([], []); }} onMoveStart={() => setMenu(null)}
        nodesDraggable={!readOnly} nodesConnectable={!readOnly} edgesReconnectable={!readOnly} deleteKeyCode={null}
        connectionLineType={ConnectionLineType.Bezier} connectionRadius={34} snapToGrid snapGrid={[20, 20]} minZoom={0.15} maxZoom={1.75}
        selectNodesOnDrag={false} onInit={onReady} elevateEdgesOnSelect proOptions={{ hideAttribution: true }}
        aria-label={t("canvas.label")}
      >
        <Background variant={BackgroundVariant.Dots} gap={20} size={1.6} color="var(--em-dots)" />
        {minimap && <MiniMap style={{ width: 148, height: 96 }} pannable zoomable nodeColor={miniColor} nodeStrokeWidth={0} nodeBorderRadius={10} ariaLabel={t("canvas.minimap")} />}
      </ReactFlow>
      {menu && <AddMenu at={menu.at} onClose={() => setMenu(null)} onPick={(type) => { onAdd(type, menu.flow, menu.from); setMenu(null); }} />}
    </div>
  );
}

function miniColor(node: CanvasNode): string {
  return LOOKS[node.data.node.type].hue;
}
