/** A node as it stands on the canvas: what it is, what it does, and a handle per way out. */
import { Handle, Position, useUpdateNodeInternals, type Node, type NodeProps } from "@xyflow/react";
import { CircleAlert, Flag, TriangleAlert } from "lucide-react";
import { memo, useEffect } from "react";
import { useLanguage } from "../i18n/react";
import type { Problem } from "../shared/http";
import { LOOKS, exitName, previewOf } from "./catalogue";
import { exitsOf, targetOf, type FlowNode } from "./document";
import { Liquid } from "./Liquid";

export type CanvasNode = Node<{ node: FlowNode; problems: Problem[]; start: boolean; current: boolean; readOnly: boolean }, "step">;

export const FlowNodeView = memo(function FlowNodeView({ id, data, selected }: NodeProps<CanvasNode>) {
  const { t } = useLanguage();
  const { node, problems } = data;
  const look = LOOKS[node.type];
  const exits = exitsOf(node);
  const exitKeys = exits.map((exit) => exit.key).join("|");
  const refresh = useUpdateNodeInternals();
  useEffect(() => refresh(id), [id, exitKeys, refresh]);

  const errors = problems.filter((problem) => problem.blocking !== false).length;
  const state = errors ? "error" : problems.length ? "warning" : "";
  const preview = previewOf(node, t);
  const Icon = look.icon;
  const classes = ["fd-node", selected && "is-selected", state && `is-${state}`, data.current && "is-current"].filter(Boolean).join(" ");
  return (
    <div className={classes} style={{ "--hue": look.hue } as React.CSSProperties}>
      <Handle type="target" position={Position.Left} id="in" className="fd-handle fd-handle--in" isConnectableStart={false} aria-hidden="true" />
      {data.start && <span className="fd-start"><Flag size={11} aria-hidden="true" />{t("canvas.start")}</span>}
      <div className="fd-node-head">
        <span className="fd-tile"><Icon size={15} aria-hidden="true" /></span>
        <span className="fd-node-title">{t(look.name)}</span>
        <span className="fd-node-id">{node.id}</span>
        {state && (
          <span className="fd-node-state" title={problems.map((problem) => problem.message).join("\n")}>
            {errors ? <CircleAlert size={16} aria-hidden="true" /> : <TriangleAlert size={16} aria-hidden="true" />}
            <span className="fd-sr">{t("canvas.problems", { n: problems.length })}</span>
          </span>
        )}
      </div>
      {node.type !== "end" && (
        <div className="fd-node-body">
          {preview ? <p><Liquid text={preview} /></p> : <p className="fd-blank">{t(`blank.${node.type}`)}</p>}
          {node.type === "ask" && (
            <span className="fd-chip">{t(`kind.${node.kind ?? "text"}`)}{node.variable ? ` → ${node.variable}` : ""}</span>
          )}
        </div>
      )}
      {exits.length > 0 && (
        <div className="fd-exits">
          {exits.map((exit) => (
            <div key={exit.key} className={`fd-exit fd-exit--${exit.kind} ${targetOf(node, exit.key) ? "is-linked" : ""}`}>
              <span>{exitName(exit, node, t)}</span>
              <Handle type="source" position={Position.Right} id={exit.key} className="fd-handle fd-handle--out" aria-hidden="true" />
            </div>
          ))}
        </div>
      )}
    </div>
  );
});
