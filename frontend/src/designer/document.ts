/**
 * The flow document (schema 1) as the designer edits it: types, exits, and every change as a pure function.
 *
 * Pure, so that undo is a list of documents and the tests need no browser. A draft may be wrong in any way the server
 * stores, so reading is tolerant: what the canvas needs is repaired, everything else is kept as it came.
 */
import { isRecord } from "../shared/http";

export const NODE_TYPES = [
  "send_text", "ask", "branch", "set_variable", "capture_lead", "request_email", "hand_over", "go_to", "end",
] as const;
export type NodeType = (typeof NODE_TYPES)[number];

export const ASK_KINDS = ["text", "choice", "number", "email", "phone", "date"] as const;
export type AskKind = (typeof ASK_KINDS)[number];

export const OPERATORS = [
  "equals", "not_equals", "contains", "not_contains", "starts_with", "matches", "greater", "less", "is_set", "is_blank",
] as const;
export type Operator = (typeof OPERATORS)[number];

/** The lead's own fields; any other key goes to its custom fields. */
export const LEAD_FIELDS = ["name", "email", "phone", "company", "notes", "amount"] as const;

export const MIN_CHOICES = 2;
export const MAX_CHOICES = 10;
/** Of a variable. */
export const MAX_NAME = 40;

export interface Choice { id: string; label: string; keywords: string[] }
export interface Case { id: string; value: string; operator: Operator; operand: string }
export interface Point { x: number; y: number }
export type Exits = Record<string, string | null>;

/** One node. Fields depend on the type; those a type does not use are absent. */
export interface FlowNode {
  id: string;
  type: NodeType;
  position: Point;
  exits: Exits;
  text?: string;
  kind?: AskKind;
  variable?: string;
  choices?: Choice[];
  retries?: number;
  retry_text?: string;
  timeout_minutes?: number | null;
  min?: number | string | null;
  max?: number | string | null;
  country?: string;
  cases?: Case[];
  value?: string;
  fields?: Record<string, string>;
  template?: string;
  to?: string;
  variables?: Record<string, string>;
  note?: string;
  target?: string | null;
}

export interface Variable { name: string; default: string }

export interface FlowDocument {
  schema: number;
  language: string;
  start: string | null;
  triggers: { keywords: string[]; match: "word" | "exact" };
  settings: { expire_minutes: number } & Record<string, unknown>;
  variables: Variable[];
  nodes: FlowNode[];
}

const DEFAULT_EXPIRE_MINUTES = 1440;
const GRID = 20;

export function emptyDocument(language = "es"): FlowDocument {
  return {
    schema: 1, language, start: null, triggers: { keywords: [], match: "word" },
    settings: { expire_minutes: DEFAULT_EXPIRE_MINUTES }, variables: [], nodes: [],
  };
}

export function isNodeType(value: unknown): value is NodeType {
  return (NODE_TYPES as readonly unknown[]).includes(value);
}

const text = (value: unknown, fallback = ""): string => (typeof value === "string" ? value : value == null ? fallback : String(value));
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const textMap = (value: unknown): Record<string, string> =>
  isRecord(value) ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, text(item)])) : {};

/** Why `value` cannot be shown on the canvas, as dictionary key and place; null when it can. */
export function refusal(value: unknown): { key: "json.notObject" | "json.nodesNotList" | "json.badNode" | "json.badType" | "json.sameId"; at: string } | null {
  if (!isRecord(value)) return { key: "json.notObject", at: "" };
  if (value.nodes !== undefined && !Array.isArray(value.nodes)) return { key: "json.nodesNotList", at: "" };
  const seen = new Set<string>();
  for (const [index, node] of list(value.nodes).entries()) {
    if (!isRecord(node) || typeof node.id !== "string" || !node.id) return { key: "json.badNode", at: String(index + 1) };
    if (!isNodeType(node.type)) return { key: "json.badType", at: node.id };
    if (seen.has(node.id)) return { key: "json.sameId", at: node.id };
    seen.add(node.id);
  }
  return null;
}

/** A document the canvas can work with, from whatever was stored. Nodes without id or known type are left out. */
export function readDocument(value: unknown): FlowDocument {
  const empty = emptyDocument();
  if (!isRecord(value)) return empty;
  const triggers = isRecord(value.triggers) ? value.triggers : {};
  const settings = isRecord(value.settings) ? value.settings : {};
  const seen = new Set<string>();
  const nodes: FlowNode[] = [];
  for (const [index, raw] of list(value.nodes).entries()) {
    if (!isRecord(raw) || typeof raw.id !== "string" || !raw.id || !isNodeType(raw.type) || seen.has(raw.id)) continue;
    seen.add(raw.id);
    nodes.push(readNode(raw, raw.id, raw.type, index));
  }
  return {
    ...(value as object),
    schema: typeof value.schema === "number" ? value.schema : 1,
    language: text(value.language, empty.language),
    start: typeof value.start === "string" && value.start ? value.start : null,
    triggers: {
      ...triggers,
      keywords: list(triggers.keywords).map((item) => text(item)),
      match: triggers.match === "exact" ? "exact" : "word",
    },
    settings: {
      ...settings,
      expire_minutes: typeof settings.expire_minutes === "number" ? settings.expire_minutes : DEFAULT_EXPIRE_MINUTES,
    },
    variables: list(value.variables).filter(isRecord).map((item) => ({ ...item, name: text(item.name), default: text(item.default) })),
    nodes,
  };
}

function readNode(raw: Record<string, unknown>, id: string, type: NodeType, index: number): FlowNode {
  const place = isRecord(raw.position) ? raw.position : {};
  const number = (value: unknown, fallback: number) => (typeof value === "number" && Number.isFinite(value) ? value : fallback);
  const exits: Exits = {};
  for (const [key, target] of Object.entries(isRecord(raw.exits) ? raw.exits : {})) {
    exits[key] = typeof target === "string" && target ? target : null;
  }
  const node = {
    ...raw, id, type, exits,
    position: { x: number(place.x, (index % 4) * 320), y: number(place.y, Math.floor(index / 4) * 220) },
  } as FlowNode;
  if (type === "ask") {
    node.kind = (ASK_KINDS as readonly unknown[]).includes(raw.kind) ? (raw.kind as AskKind) : "text";
    if (node.kind === "choice" || raw.choices !== undefined) {
      node.choices = list(raw.choices).filter(isRecord).map((item) => ({
        ...item, id: text(item.id), label: text(item.label), keywords: list(item.keywords).map((word) => text(word)),
      }));
    }
  }
  if (type === "branch") {
    node.cases = list(raw.cases).filter(isRecord).map((item) => ({
      ...item, id: text(item.id), value: text(item.value), operand: text(item.operand),
      operator: (OPERATORS as readonly unknown[]).includes(item.operator) ? (item.operator as Operator) : "equals",
    }));
  }
  if (type === "capture_lead") node.fields = textMap(raw.fields);
  if (type === "request_email") node.variables = textMap(raw.variables);
  return node;
}

export type ExitKind = "next" | "fallback" | "failed" | "timeout" | "choice" | "case" | "otherwise" | "target";
/** A way out of a node: `key` as in the document, `label` only where the author wrote one. */
export interface Exit { key: string; kind: ExitKind; label: string; index: number }

/** The key under which the canvas shows a go-to's target as if it were an exit. */
export const TARGET_EXIT = "target";

/** Every exit the node offers, in the order they are shown. */
export function exitsOf(node: FlowNode): Exit[] {
  const plain = (key: string, kind: ExitKind): Exit => ({ key, kind, label: "", index: 0 });
  switch (node.type) {
    case "ask": {
      const exits: Exit[] = [];
      if (node.kind === "choice") {
        for (const [index, choice] of (node.choices ?? []).entries()) {
          exits.push({ key: `choice:${choice.id}`, kind: "choice", label: choice.label, index });
        }
      }
      exits.push(plain("next", node.kind === "choice" ? "fallback" : "next"), plain("failed", "failed"));
      if (node.timeout_minutes != null || node.exits.timeout) exits.push(plain("timeout", "timeout"));
      return exits;
    }
    case "branch":
      return [
        ...(node.cases ?? []).map((item, index): Exit => ({ key: `case:${item.id}`, kind: "case", label: "", index })),
        plain("otherwise", "otherwise"),
      ];
    case "go_to":
      return [plain(TARGET_EXIT, "target")];
    case "hand_over":
    case "end":
      return [];
    default:
      return [plain("next", "next")];
  }
}

export function targetOf(node: FlowNode, exit: string): string | null {
  return (node.type === "go_to" && exit === TARGET_EXIT ? node.target : node.exits[exit]) ?? null;
}

export interface Link { id: string; source: string; exit: string; target: string }

export const linkId = (source: string, exit: string): string => `${source}→${exit}`;

/** Every drawn connection; those to nodes that do not exist are left out (the server reports them). */
export function linksOf(document: FlowDocument): Link[] {
  const ids = new Set(document.nodes.map((node) => node.id));
  const links: Link[] = [];
  for (const node of document.nodes) {
    for (const exit of exitsOf(node)) {
      const target = targetOf(node, exit.key);
      if (target && ids.has(target)) links.push({ id: linkId(node.id, exit.key), source: node.id, exit: exit.key, target });
    }
  }
  return links;
}

export function findNode(document: FlowDocument, id: string | null | undefined): FlowNode | undefined {
  return document.nodes.find((node) => node.id === id);
}

export function updateNode(document: FlowDocument, id: string, change: (node: FlowNode) => FlowNode): FlowDocument {
  return { ...document, nodes: document.nodes.map((node) => (node.id === id ? change(node) : node)) };
}

export function setExit(document: FlowDocument, id: string, exit: string, target: string | null): FlowDocument {
  return updateNode(document, id, (node) =>
    node.type === "go_to" && exit === TARGET_EXIT ? { ...node, target: target ?? "" } : { ...node, exits: { ...node.exits, [exit]: target } },
  );
}

export function freshId(taken: Iterable<string>, stem: string): string {
  const ids = new Set(taken);
  for (let number = 1; ; number++) if (!ids.has(`${stem}_${number}`)) return `${stem}_${number}`;
}

/** A new node with the fields its type needs, so that the server has something to say about each of them. */
export function createNode(type: NodeType, id: string, position: Point, language: string): FlowNode {
  const node: FlowNode = { id, type, position: snap(position), exits: {} };
  switch (type) {
    case "send_text": return { ...node, text: "", exits: { next: null } };
    case "ask":
      return {
        ...node, kind: "text", text: "", variable: "", retries: 2, retry_text: "", timeout_minutes: null, min: null, max: null,
        ...(language === "es" ? { country: "ES" } : {}), exits: { next: null, failed: null },
      };
    case "branch":
      return { ...node, cases: [{ id: "case_1", value: "", operator: "equals", operand: "" }], exits: { "case:case_1": null, otherwise: null } };
    case "set_variable": return { ...node, variable: "", value: "", exits: { next: null } };
    case "capture_lead":
      return { ...node, fields: { name: "", email: "", phone: "{{ contact.phone }}" }, exits: { next: null } };
    case "request_email": return { ...node, template: "", to: "", variables: {}, exits: { next: null } };
    case "hand_over": return { ...node, note: "" };
    case "go_to": return { ...node, target: "" };
    case "end": return node;
  }
}

/** Adds a node; the first one of a flow becomes its start. From `from` it is reached, and where that led to it leads on. */
export function addNode(
  document: FlowDocument, type: NodeType, position: Point, from?: { id: string; exit: string },
): { document: FlowDocument; id: string } {
  const id = freshId(document.nodes.map((node) => node.id), type);
  const node = createNode(type, id, position, document.language);
  let next: FlowDocument = { ...document, start: document.nodes.length ? document.start : id, nodes: [...document.nodes, node] };
  const source = from && findNode(document, from.id);
  if (from && source) {
    const onward = targetOf(source, from.exit);
    next = setExit(next, from.id, from.exit, id);
    if (onward && "next" in node.exits) next = setExit(next, id, "next", onward);
  }
  return { document: next, id };
}

/** Removes nodes and every connection to them. */
export function removeNodes(document: FlowDocument, ids: readonly string[]): FlowDocument {
  const gone = new Set(ids);
  const keep = (target: string | null | undefined) => (target && gone.has(target) ? null : (target ?? null));
  return {
    ...document,
    start: keep(document.start),
    nodes: document.nodes
      .filter((node) => !gone.has(node.id))
      .map((node) => {
        const touched = Object.values(node.exits).some((target) => target && gone.has(target)) || (node.target && gone.has(node.target));
        if (!touched) return node;
        const exits = Object.fromEntries(Object.entries(node.exits).map(([key, target]) => [key, keep(target)]));
        return { ...node, exits, ...(node.type === "go_to" ? { target: keep(node.target) ?? "" } : {}) };
      }),
  };
}

/** Copies nodes beside the originals; connections among the copied ones are kept, those to the outside are not. */
export function duplicateNodes(document: FlowDocument, ids: readonly string[]): { document: FlowDocument; ids: string[] } {
  const taken = document.nodes.map((node) => node.id);
  const names = new Map<string, string>();
  for (const id of ids) {
    const node = findNode(document, id);
    if (!node) continue;
    const fresh = freshId(taken, node.type);
    taken.push(fresh);
    names.set(id, fresh);
  }
  const copies = [...names].map(([id, fresh]): FlowNode => {
    const node = structuredClone(findNode(document, id)!);
    const exits = Object.fromEntries(Object.entries(node.exits).map(([key, target]) => [key, (target && names.get(target)) ?? null]));
    return { ...node, id: fresh, exits, position: snap({ x: node.position.x + 40, y: node.position.y + 60 }) };
  });
  return { document: { ...document, nodes: [...document.nodes, ...copies] }, ids: [...names.values()] };
}

/** Gives a node another id and follows it everywhere. */
export function renameNode(document: FlowDocument, from: string, to: string): FlowDocument {
  const follow = (target: string | null | undefined) => (target === from ? to : (target ?? null));
  return {
    ...document,
    start: follow(document.start),
    nodes: document.nodes.map((node) => ({
      ...node,
      id: node.id === from ? to : node.id,
      exits: Object.fromEntries(Object.entries(node.exits).map(([key, target]) => [key, follow(target)])),
      ...(node.type === "go_to" ? { target: follow(node.target) ?? "" } : {}),
    })),
  };
}

/** Replaces the choices of an ask. An exit follows its choice to a new id, and goes when the choice goes. */
export function withChoices(node: FlowNode, choices: Choice[], renamed?: { from: string; to: string }): FlowNode {
  return { ...node, choices, exits: keyedExits(node.exits, "choice:", choices, renamed) };
}

export function withCases(node: FlowNode, cases: Case[]): FlowNode {
  return { ...node, cases, exits: keyedExits(node.exits, "case:", cases) };
}

function keyedExits(exits: Exits, prefix: string, items: { id: string }[], renamed?: { from: string; to: string }): Exits {
  const result: Exits = Object.fromEntries(Object.entries(exits).filter(([key]) => !key.startsWith(prefix)));
  for (const { id } of items) {
    const former = renamed && renamed.to === id ? renamed.from : id;
    result[prefix + id] = exits[prefix + former] ?? null;
  }
  return result;
}

/** Changes the kind of an ask, with two choices to begin with where it needs some. */
export function withKind(node: FlowNode, kind: AskKind): FlowNode {
  const next: FlowNode = { ...node, kind };
  if (kind !== "choice") {
    delete next.choices;
    next.exits = Object.fromEntries(Object.entries(node.exits).filter(([key]) => !key.startsWith("choice:")));
    return next;
  }
  return node.choices?.length ? next : withChoices(next, [1, 2].map((n) => ({ id: `choice_${n}`, label: "", keywords: [] })));
}

/** Letters, digits and underscores from any text: "Catálogo 2026" → "catalogo_2026". */
export function slug(value: string, longest = 32): string {
  return value.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "").slice(0, longest);
}

/** The names a text may use after `vars.`: declared ones, then those that questions and steps set. */
export function variableNames(document: FlowDocument): string[] {
  const names = [
    ...document.variables.map((item) => item.name),
    ...document.nodes.filter((node) => node.type === "ask" || node.type === "set_variable").map((node) => node.variable ?? ""),
  ];
  return [...new Set(names.filter(Boolean))];
}

export function snap(point: Point): Point {
  return { x: Math.round(point.x / GRID) * GRID, y: Math.round(point.y / GRID) * GRID };
}

/** Whether deleting would lose what somebody wrote (an untouched new node is nothing to mourn). */
export function hasContent(node: FlowNode): boolean {
  const blank = createNode(node.type, node.id, node.position, "");
  const strip = ({ position: _position, exits: _exits, country: _country, ...rest }: FlowNode) => JSON.stringify(rest, Object.keys(rest).sort());
  return strip(node) !== strip(blank);
}
