import { describe, expect, it } from "vitest";
import { demo } from "../dev/demo";
import {
  addNode, createNode, duplicateNodes, emptyDocument, exitsOf, findNode, hasContent, linksOf, NODE_TYPES, readDocument, refusal, removeNodes, renameNode,
  setExit, slug, variableNames, withChoices, withKind,
} from "../src/designer/document";

const flow = readDocument(demo);

describe("reading", () => {
  it("keeps what it does not know", () => {
    const read = readDocument({ ...demo, x: 1, settings: { expire_minutes: 5, other: true } });
    expect(read).toMatchObject({ x: 1, settings: { expire_minutes: 5, other: true } });
  });
  it.each([null, 5, "x", [], {}, { nodes: 3 }, { nodes: [null, 4, { id: "a" }, { id: "b", type: "ask", choices: 5, exits: [] }] }])("makes something to draw of %j", (value) => {
    const read = readDocument(value);
    expect(read.triggers.keywords).toEqual([]);
    for (const node of read.nodes) expect(Number.isFinite(node.position.x)).toBe(true);
  });
  it("reads its own writing as it is", () => {
    expect(readDocument(JSON.parse(JSON.stringify(flow)))).toEqual(flow);
  });
  it("says why a text cannot be drawn", () => {
    expect(refusal([])?.key).toBe("json.notObject");
    expect(refusal({ nodes: {} })?.key).toBe("json.nodesNotList");
    expect(refusal({ nodes: [{}] })).toEqual({ key: "json.badNode", at: "1" });
    expect(refusal({ nodes: [{ id: "a", type: "x" }] })?.key).toBe("json.badType");
    expect(refusal({ nodes: [{ id: "a", type: "end" }, { id: "a", type: "end" }] })?.key).toBe("json.sameId");
    expect(refusal(demo)).toBeNull();
  });
});

describe("exits", () => {
  it("offers one per choice, beside the fallback, the failure and the time-out", () => {
    expect(exitsOf(findNode(flow, "interest")!).map((exit) => exit.key)).toEqual(["choice:catalogue", "choice:prices", "choice:advisor", "next", "failed"]);
    expect(exitsOf(findNode(flow, "email")!).map((exit) => exit.key)).toContain("timeout");
  });
  it("draws a go-to's target like a connection", () => {
    const { document, id } = addNode(flow, "go_to", { x: 0, y: 0 });
    expect(linksOf(setExit(document, id, "target", "greet"))).toContainEqual(expect.objectContaining({ source: id, target: "greet" }));
  });
  it("leaves out connections to nodes that are not there", () => {
    expect(linksOf(setExit(flow, "greet", "next", "nowhere")).some((link) => link.source === "greet")).toBe(false);
  });
});

describe("changing", () => {
  it("starts at the first node that is added", () => {
    const { document, id } = addNode(emptyDocument(), "send_text", { x: 3, y: 7 });
    expect(document.start).toBe(id);
    expect(document.nodes[0]!.position).toEqual({ x: 0, y: 0 });
  });
  it("connects a node that is added from an exit", () => {
    const { document, id } = addNode(flow, "end", { x: 0, y: 0 }, { id: "interest", exit: "next" });
    expect(findNode(document, "interest")!.exits.next).toBe(id);
  });
  it("puts a node between two that were connected", () => {
    const { document, id } = addNode(flow, "send_text", { x: 0, y: 0 }, { id: "greet", exit: "next" });
    expect(findNode(document, "greet")!.exits.next).toBe(id);
    expect(findNode(document, id)!.exits.next).toBe("interest");
  });
  it("takes the connections of a removed node along, and its start", () => {
    const left = removeNodes(flow, ["name", "greet"]);
    expect(left.start).toBeNull();
    expect(findNode(left, "interest")!.exits["choice:catalogue"]).toBeNull();
    expect(findNode(left, "interest")!.exits["choice:advisor"]).toBe("human");
  });
  it("copies nodes with the connections among them only", () => {
    const { document, ids } = duplicateNodes(flow, ["name", "email"]);
    const copy = findNode(document, ids[0])!;
    expect(copy.exits.next).toBe(ids[1]);
    expect(findNode(document, ids[1])!.exits.failed).toBeNull();
    expect(new Set(document.nodes.map((node) => node.id)).size).toBe(document.nodes.length);
  });
  it("follows a node to its new name", () => {
    const renamed = renameNode(flow, "human", "person");
    expect(findNode(renamed, "interest")!.exits["choice:advisor"]).toBe("person");
    expect(renameNode(flow, "greet", "hi").start).toBe("hi");
  });
  it("moves an exit along with its choice's id and drops it with the choice", () => {
    const node = findNode(flow, "interest")!;
    const [first, ...rest] = node.choices!;
    const renamed = withChoices(node, [{ ...first!, id: "book" }, ...rest], { from: "catalogue", to: "book" });
    expect(renamed.exits["choice:book"]).toBe("name");
    expect(renamed.exits).not.toHaveProperty("choice:catalogue");
    expect(withChoices(node, rest).exits).not.toHaveProperty("choice:catalogue");
  });
  it("begins a choice with two answers and forgets them for free text", () => {
    const ask = withKind(createNode("ask", "a", { x: 0, y: 0 }, "es"), "choice");
    expect(Object.keys(ask.exits)).toEqual(["next", "failed", "choice:choice_1", "choice:choice_2"]);
    expect(Object.keys(withKind(ask, "text").exits)).toEqual(["next", "failed"]);
  });
});

describe("names", () => {
  it("makes ids of labels", () => expect(slug("  Catálogo 2026 – ¡Ñandú! ")).toBe("catalogo_2026_nandu"));
  it("knows the variables of a flow once each", () => expect(variableNames(flow)).toEqual(["campaign", "interest", "name", "email"]));
  it("mourns no node that nobody filled in", () => {
    for (const type of NODE_TYPES) expect(hasContent(createNode(type, "a", { x: 0, y: 0 }, "es")), type).toBe(false);
    expect(hasContent(findNode(flow, "greet")!)).toBe(true);
  });
});
