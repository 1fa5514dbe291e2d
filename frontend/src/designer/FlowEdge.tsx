/** A connection; backwards ones run around the nodes, the selected one carries its own delete button. */
import { BaseEdge, EdgeLabelRenderer, getBezierPath, getSmoothStepPath, type Edge, type EdgeProps } from "@xyflow/react";
import { X } from "lucide-react";
import { useLanguage } from "../i18n/react";

export type CanvasEdge = Edge<{ remove: (() => void) | null }, "link">;

export function FlowEdge({ sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition, markerEnd, style, selected, data }: EdgeProps<CanvasEdge>) {
  const { t } = useLanguage();
  const ends = { sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition };
  const [path, labelX, labelY] = targetX < sourceX + 20 ? getSmoothStepPath({ ...ends, borderRadius: 18, offset: 32 }) : getBezierPath(ends);
  return (
    <>
      <BaseEdge path={path} markerEnd={markerEnd} style={style} interactionWidth={26} />
      {selected && data?.remove && (
        <EdgeLabelRenderer>
          <button
            type="button" className="fd-edge-x nodrag nopan" aria-label={t("canvas.disconnect")} title={t("canvas.disconnect")}
            style={{ transform: `translate(-50%, -50%) translate(${labelX}px, ${labelY}px)` }} onClick={data.remove}
          >
            <X size={13} />
          </button>
        </EdgeLabelRenderer>
      )}
    </>
  );
}
