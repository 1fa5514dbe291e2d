/** Tidies a flow: layers from left to right by distance from the start, each layer ordered to keep lines short. */
import { exitsOf, linksOf, snap, type FlowDocument, type FlowNode } from "./document";

export const NODE_WIDTH = 248;
const LAYER_GAP = 112;
const ROW_GAP = 44;
const HEADER = 44;
const BODY = 62;
const EXIT_ROW = 30;

/** What a node's height will be, near enough for placing (the browser knows only after drawing). */
export function heightOf(node: FlowNode): number {
  return HEADER + (node.type === "end" ? 0 : BODY) + exitsOf(node).length * EXIT_ROW;
}

/** The rectangle that holds every node. */
export function boundsOf(document: FlowDocument): { x: number; y: number; width: number; height: number } {
  const left = Math.min(...document.nodes.map((node) => node.position.x));
  const top = Math.min(...document.nodes.map((node) => node.position.y));
  const right = Math.max(...document.nodes.map((node) => node.position.x + NODE_WIDTH));
  const bottom = Math.max(...document.nodes.map((node) => node.position.y + heightOf(node)));
  return { x: left, y: top, width: right - left, height: bottom - top };
}

export function arrange(document: FlowDocument, heights: ReadonlyMap<string, number> = new Map()): FlowDocument {
  if (!document.nodes.length) return document;
  const tall = (node: FlowNode) => heights.get(node.id) ?? heightOf(node);
  const layers = layersOf(document);
  const incoming = new Map<string, string[]>();
  for (const link of linksOf(document)) incoming.set(link.target, [...(incoming.get(link.target) ?? []), link.source]);

  const centre = new Map<string, number>();
  const place = new Map<string, { x: number; y: number }>();
  for (const [index, layer] of layers.entries()) {
    const wish = (node: FlowNode, order: number) => {
      const ys = (incoming.get(node.id) ?? []).map((id) => centre.get(id)).filter((y) => y !== undefined);
      return ys.length ? ys.reduce((sum, y) => sum + y, 0) / ys.length + order * 0.01 : order * 200;
    };
    const ordered = layer.map((node, order) => ({ node, wish: index ? wish(node, order) : 0 })).sort((a, b) => a.wish - b.wish);
    const total = ordered.reduce((sum, { node }) => sum + tall(node) + ROW_GAP, -ROW_GAP);
    const middle = ordered.reduce((sum, item) => sum + item.wish, 0) / ordered.length;
    let y = middle - total / 2;
    for (const { node } of ordered) {
      place.set(node.id, snap({ x: index * (NODE_WIDTH + LAYER_GAP), y }));
      centre.set(node.id, y + tall(node) / 2);
      y += tall(node) + ROW_GAP;
    }
  }
  const top = Math.min(...[...place.values()].map((point) => point.y));
  return {
    ...document,
    nodes: document.nodes.map((node) => {
      const point = place.get(node.id)!;
      return { ...node, position: { x: point.x, y: point.y - top } };
    }),
  };
}

/** Nodes by longest distance from the start, ignoring links that go back; what cannot be reached follows in its own layers. */
export function layersOf(document: FlowDocument): FlowNode[][] {
  const outgoing = new Map<string, string[]>();
  for (const link of linksOf(document)) outgoing.set(link.source, [...(outgoing.get(link.source) ?? []), link.target]);
  const order: string[] = [];
  const state = new Map<string, "open" | "done">();
  const forward: [string, string][] = [];

  const visit = (root: string) => {
    const stack: { id: string; next: number }[] = [{ id: root, next: 0 }];
    state.set(root, "open");
    while (stack.length) {
      const top = stack.at(-1)!;
      const target = (outgoing.get(top.id) ?? [])[top.next++];
      if (target === undefined) {
        state.set(top.id, "done");
        order.push(top.id);
        stack.pop();
      } else if (state.get(target) !== "open") {
        forward.push([top.id, target]);
        if (!state.has(target)) {
          state.set(target, "open");
          stack.push({ id: target, next: 0 });
        }
      }
    }
  };
  const ids = document.nodes.map((node) => node.id);
  const targets = new Set([...outgoing.values()].flat());
  const roots = [...(document.start && ids.includes(document.start) ? [document.start] : []), ...ids.filter((id) => !targets.has(id)), ...ids];
  for (const id of roots) if (!state.has(id)) visit(id);

  const rank = new Map<string, number>(ids.map((id) => [id, 0]));
  const following = new Map<string, string[]>();
  for (const [source, target] of forward) following.set(source, [...(following.get(source) ?? []), target]);
  for (const id of order.reverse()) {
    for (const target of following.get(id) ?? []) rank.set(target, Math.max(rank.get(target)!, rank.get(id)! + 1));
  }
  const layers: FlowNode[][] = [];
  for (const node of document.nodes) (layers[rank.get(node.id)!] ??= []).push(node);
  return layers.filter(Boolean);
}
