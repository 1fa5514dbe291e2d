/** A few of the server's rules, so that the pages have something to show. */
import { linksOf, readDocument } from "../src/designer/document";

export function validate(raw: unknown) {
  const flow = readDocument(raw);
  const problems: { where: string; code: string; message: string; blocking: boolean }[] = [];
  const add = (where: string, code: string, message: string) => problems.push({ where, code, message, blocking: !code.startsWith("warning_") });
  if (!flow.nodes.length) add("", "empty", "El flujo no tiene pasos.");
  else if (!flow.start) add("", "no_start", "Elige el primer paso.");
  if (!flow.triggers.keywords.length) add("", "warning_no_keywords", "Ninguna palabra inicia este flujo.");
  const reached = new Set([flow.start, ...linksOf(flow).map((link) => link.target)]);
  for (const node of flow.nodes) {
    if ((node.type === "send_text" || node.type === "ask") && !node.text?.trim()) add(node.id, "text_missing", "Falta el texto.");
    if (node.type === "ask" && !node.variable) add(node.id, "variable_missing", "Falta la variable.");
    if (node.type === "request_email" && !node.template) add(node.id, "template_missing", "Elige una plantilla.");
    if (node.type === "go_to" && !node.target) add(node.id, "target_missing", "Elige a qué paso ir.");
    if (!reached.has(node.id)) add(node.id, "warning_unreachable", "Nada lleva a este paso.");
  }
  return problems;
}
