/** What of the canvas is seen: the whole flow, its beginning, or one node, beside whatever panel covers a part of it. */
import { useReactFlow } from "@xyflow/react";
import { useCallback, useMemo, useRef, type RefObject } from "react";
import { calm, MOVE_MS } from "./CanvasTools";
import { findNode, type FlowDocument } from "./document";
import { boundsOf, heightOf, NODE_WIDTH } from "./layout";

const MARGIN = 56;
/** A flow that would have to be smaller than this to be seen whole is shown from its start instead. */
const READABLE_ZOOM = 0.5;
const START_ZOOM = 0.85;
const CENTRE_ZOOM = 0.8;

export function useViewport(stage: RefObject<HTMLElement | null>, latest: RefObject<FlowDocument>) {
  const { setViewport, getViewport } = useReactFlow();
  // The node on its way to the middle needs no second move to be seen.
  const centring = useRef<string | null>(null);

  /** The part of the stage that no sheet covers, in its own coordinates. */
  const room = useCallback(() => {
    const box = stage.current?.getBoundingClientRect();
    if (!box) return null;
    const sheet = stage.current?.parentElement?.querySelector(".fd-side")?.getBoundingClientRect();
    const covered = sheet && sheet.top > box.top + 20 && sheet.left < box.right && sheet.width > box.width * 0.9 ? box.bottom - sheet.top : 0;
    return { width: box.width, height: Math.max(120, box.height - covered) };
  }, [stage]);

  // Two frames: what is to be seen may be drawn by the first.
  const later = (action: () => void) => requestAnimationFrame(() => requestAnimationFrame(action));
  const move = useCallback((to: { x: number; y: number; zoom: number }, smooth = true) => void setViewport(to, { duration: smooth && !calm() ? MOVE_MS : 0 }), [setViewport]);

  const frame = useCallback(
    (what: "all" | "start") =>
      later(() => {
        const flow = latest.current;
        const space = room();
        if (!space || !flow.nodes.length) return;
        const bounds = boundsOf(flow);
        const whole = Math.min(1, (space.width - 2 * MARGIN) / bounds.width, (space.height - 2 * MARGIN) / bounds.height);
        const first = findNode(flow, flow.start) ?? flow.nodes[0]!;
        if (what === "start" && whole < READABLE_ZOOM) {
          const x = space.width < 600 ? (space.width - NODE_WIDTH * START_ZOOM) / 2 : MARGIN;
          return move({ x: x - first.position.x * START_ZOOM, y: space.height * 0.4 - (first.position.y + heightOf(first) / 2) * START_ZOOM, zoom: START_ZOOM }, false);
        }
        const zoom = Math.max(0.15, whole);
        move({ x: space.width / 2 - (bounds.x + bounds.width / 2) * zoom, y: space.height / 2 - (bounds.y + bounds.height / 2) * zoom, zoom }, what === "all");
      }),
    [latest, room, move],
  );

  const centre = useCallback(
    (id: string) => {
      centring.current = id;
      setTimeout(() => (centring.current = null), 2 * MOVE_MS);
      later(() => {
        const node = findNode(latest.current, id);
        const space = room();
        if (!node || !space) return;
        const zoom = Math.max(getViewport().zoom, CENTRE_ZOOM);
        move({ x: space.width / 2 - (node.position.x + NODE_WIDTH / 2) * zoom, y: space.height / 2 - (node.position.y + heightOf(node) / 2) * zoom, zoom });
      });
    },
    [latest, room, getViewport, move],
  );

  /** Moves the canvas only as far as it takes to see the node. */
  const reveal = useCallback(
    (id: string) =>
      later(() => {
        const node = findNode(latest.current, id);
        const space = room();
        if (!node || !space || centring.current === id) return;
        const { x, y, zoom } = getViewport();
        const shift = (from: number, size: number, available: number) => {
          if (from + size > available - 24) return Math.max(24 - from, available - 24 - (from + size));
          return from < 24 ? 24 - from : 0;
        };
        const by = {
          x: shift(node.position.x * zoom + x, NODE_WIDTH * zoom, space.width),
          y: shift(node.position.y * zoom + y, heightOf(node) * zoom, space.height),
        };
        if (by.x || by.y) move({ x: x + by.x, y: y + by.y, zoom });
      }),
    [latest, room, getViewport, move],
  );
  return useMemo(() => ({ frame, centre, reveal }), [frame, centre, reveal]);
}
