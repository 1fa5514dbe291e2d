/** How each node type looks and reads: one place for icon, colour, name and preview. */
import {
  Braces, CircleHelp, CircleStop, CornerUpRight, Headset, Mail, MessageSquareText, Split, UserRoundPlus, type LucideIcon,
} from "lucide-react";
import type { Key, Translate } from "../i18n";
import { NODE_TYPES, type Case, type Exit, type FlowNode, type NodeType } from "./document";

interface Look { icon: LucideIcon; name: Key; hint: Key; hue: string }

export const LOOKS: Record<NodeType, Look> = {
  send_text: { icon: MessageSquareText, name: "node.send_text", hint: "hint.send_text", hue: "#4f46e5" },
  ask: { icon: CircleHelp, name: "node.ask", hint: "hint.ask", hue: "#0284c7" },
  branch: { icon: Split, name: "node.branch", hint: "hint.branch", hue: "#b45309" },
  set_variable: { icon: Braces, name: "node.set_variable", hint: "hint.set_variable", hue: "#57657f" },
  capture_lead: { icon: UserRoundPlus, name: "node.capture_lead", hint: "hint.capture_lead", hue: "#047857" },
  request_email: { icon: Mail, name: "node.request_email", hint: "hint.request_email", hue: "#be185d" },
  hand_over: { icon: Headset, name: "node.hand_over", hint: "hint.hand_over", hue: "#c2410c" },
  go_to: { icon: CornerUpRight, name: "node.go_to", hint: "hint.go_to", hue: "#7c3aed" },
  end: { icon: CircleStop, name: "node.end", hint: "hint.end", hue: "#475569" },
};

export const PALETTE: readonly NodeType[] = NODE_TYPES;

/** What a step dragged from the palette is called while it is in the air. */
export const DRAG_TYPE = "application/x-embudo-node";

export function exitName(exit: Exit, node: FlowNode, t: Translate): string {
  switch (exit.kind) {
    case "choice": return exit.label || t("exit.choice", { n: exit.index + 1 });
    case "case": return caseName(node.cases?.[exit.index], t) || t("exit.case", { n: exit.index + 1 });
    default: return t(`exit.${exit.kind}`);
  }
}

function caseName(item: Case | undefined, t: Translate): string {
  if (!item?.value) return "";
  const subject = item.value.replace(/^\{\{\s*|\s*\}\}$/g, "").replace(/^vars\./, "");
  const unary = item.operator === "is_set" || item.operator === "is_blank";
  return `${subject} ${t(`op.short.${item.operator}`)}${unary ? "" : ` ${item.operand}`}`;
}

/** The line or two that say what a node does, for the canvas and the search. */
export function previewOf(node: FlowNode, t: Translate): string {
  switch (node.type) {
    case "send_text":
    case "ask": return node.text ?? "";
    case "set_variable": return node.variable ? `${node.variable} = ${node.value ?? ""}` : "";
    case "capture_lead": return Object.entries(node.fields ?? {}).filter(([, value]) => value).map(([key]) => key).join(" · ");
    case "request_email": return node.template ? t("preview.email", { template: node.template, to: node.to || "…" }) : "";
    case "hand_over": return node.note ?? "";
    case "go_to": return node.target ? `→ ${node.target}` : "";
    case "branch": return t("preview.branch", { n: node.cases?.length ?? 0 });
    case "end": return "";
  }
}

export function searchNodes(nodes: readonly FlowNode[], query: string, t: Translate): FlowNode[] {
  const fold = (value: string) => value.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
  const words = fold(query).split(/\s+/).filter(Boolean);
  return nodes.filter((node) => {
    const choices = (node.choices ?? []).map((choice) => choice.label).join(" ");
    const hay = fold(`${node.id} ${t(LOOKS[node.type].name)} ${previewOf(node, t)} ${node.variable ?? ""} ${choices}`);
    return words.every((word) => hay.includes(word));
  });
}
