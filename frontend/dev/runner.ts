/** Walks a flow well enough to try the pages: no types checked, no timers, `{{ … }}` by plain replacement. */
import { readDocument } from "../src/designer/document";

export interface Session { node: string | null; vars: Record<string, string>; waiting: boolean; status: string }

export function run(raw: unknown, session: Session, reply: { text?: string; choice?: string } | null) {
  const flow = readDocument(raw);
  const messages: { from: string; text: string; choices: { id: string; label: string }[] }[] = [];
  const effects: Record<string, unknown>[] = [];
  const fill = (text = "") => text.replace(/\{\{\s*([\w.]+)[^}]*\}\}/g, (_whole, path: string) => (path.startsWith("vars.") ? (session.vars[path.slice(5)] ?? "") : path === "contact.name" ? "Ana" : path === "contact.phone" ? "+34600000000" : ""));
  let at = session.node ?? flow.start;
  if (reply && session.waiting) {
    const node = flow.nodes.find((item) => item.id === session.node);
    const choice = node?.choices?.find((item) => item.id === reply.choice || item.label.toLowerCase() === reply.text?.toLowerCase() || item.keywords.includes(reply.text?.toLowerCase() ?? ""));
    session.waiting = false;
    if (node?.kind === "choice" && !choice) {
      messages.push({ from: "bot", text: fill(node.retry_text || "?"), choices: node.choices ?? [] });
      session.waiting = true;
      return { messages, effects, node: session.node, status: session.status, vars: session.vars };
    }
    if (node?.variable) session.vars[node.variable] = choice?.id ?? reply.text ?? "";
    at = (choice && node?.exits[`choice:${choice.id}`]) ?? node?.exits.next ?? null;
  }
  for (let steps = 0; at && steps < 50; steps++) {
    const node = flow.nodes.find((item) => item.id === at);
    if (!node) break;
    session.node = at;
    if (node.type === "ask") {
      messages.push({ from: "bot", text: fill(node.text), choices: node.kind === "choice" ? (node.choices ?? []).map(({ id, label }) => ({ id, label })) : [] });
      session.waiting = true;
      return { messages, effects, node: at, status: session.status, vars: session.vars };
    }
    if (node.type === "send_text") messages.push({ from: "bot", text: fill(node.text), choices: [] });
    if (node.type === "set_variable" && node.variable) session.vars[node.variable] = fill(node.value);
    if (node.type === "capture_lead") effects.push({ kind: "capture_lead", fields: Object.fromEntries(Object.entries(node.fields ?? {}).map(([key, value]) => [key, fill(value)])) });
    if (node.type === "request_email") effects.push({ kind: "request_email", template: node.template, to: fill(node.to), variables: {} });
    if (node.type === "hand_over") effects.push({ kind: "hand_over", note: fill(node.note) });
    if (node.type === "branch") {
      const hit = node.cases?.find((item) => fill(item.value) === fill(item.operand));
      at = (hit && node.exits[`case:${hit.id}`]) ?? node.exits.otherwise ?? null;
    } else at = node.type === "go_to" ? (node.target ?? null) : (node.exits.next ?? null);
  }
  session.status = "completed";
  effects.push({ kind: "finished", outcome: "completed" });
  return { messages, effects, node: session.node, status: session.status, vars: session.vars };
}
