/** The REST contract of flows, simulations, templates and the simulator channel, in memory. */
import { demo } from "./demo";
import { run, type Session } from "./runner";
import { validate } from "./validate";

interface Reply { status: number; body?: unknown; etag?: string }
interface Stored { id: string; name: string; document: unknown; revision: number; published_version: number | null; updated_at: string; updated_by: string }
interface StoredVersion { number: number; document: unknown; published_at: string; published_by: string; note: string | null }
interface Chat { session: Session; messages: { id: string; direction: string; text: string; choices: unknown; status: string; at: string }[] }

let flows: Map<string, Stored>;
let versions: Map<string, StoredVersion[]>;
let simulations: Map<string, { session: Session; document: unknown }>;
let chats: Map<string, Chat>;

export function reset(): void {
  const now = new Date().toISOString();
  const flow = (id: string, name: string, document: unknown): Stored => ({ id, name, document, revision: 1, published_version: null, updated_at: now, updated_by: "Ana" });
  flows = new Map([["demo", { ...flow("demo", "Bienvenida WhatsApp", demo), published_version: 1 }], ["new", flow("new", "Flujo nuevo", {})]]);
  versions = new Map([["demo", [{ number: 1, document: structuredClone(demo), published_at: now, published_by: "Ana", note: null }]]]);
  simulations = new Map();
  chats = new Map();
}
reset();

const problem = (status: number, title: string, errors: unknown[] = []): Reply => ({ status, body: { title, status, detail: title, errors } });
const show = (flow: Stored): Reply => ({ status: 200, body: flow, etag: `"${flow.revision}"` });

export function answer(method: string, url: URL, body: Record<string, unknown>, ifMatch?: string): Reply {
  const [root, id = "", part, sub, action] = url.pathname.slice(1).split("/");
  if (root === "templates") {
    const variables = [{ name: "name", required: true }, { name: "interest", required: false }];
    return { status: 200, body: { items: [{ key: "welcome", name: "Bienvenida", language: "es", variables }, { key: "brochure", name: "Catálogo", language: "es", variables: [] }], next: null } };
  }
  if (root === "leads") return id === "21" ? problem(409, "Esta etapa exige un importe") : { status: 200, body: { id }, etag: '"2"' };
  if (root === "simulator") return simulator(method, part === undefined ? "" : part, sub, url, body);
  if (root === "simulations") {
    const found = simulations.get(id);
    if (!found) return problem(404, "not found");
    if (method === "DELETE") return void simulations.delete(id), { status: 204 };
    return { status: 200, body: { id, ...run(found.document, found.session, { text: body.text as string, choice: body.choice as string }) } };
  }
  const flow = flows.get(id);
  if (!flow) return problem(404, "not found");
  if (!part) {
    if (method === "GET") return show(flow);
    if (ifMatch !== `"${flow.revision}"`) return problem(412, "someone else saved");
    Object.assign(flow, { name: body.name, document: body.document, revision: flow.revision + 1, updated_at: new Date().toISOString() });
    return show(flow);
  }
  if (part === "validate") return { status: 200, body: { problems: validate(body.document ?? flow.document) } };
  if (part === "simulations") {
    const sid = `s${simulations.size + 1}`;
    const session: Session = { node: null, vars: {}, waiting: false, status: "active" };
    const document = body.document ?? flow.document;
    simulations.set(sid, { session, document });
    return { status: 201, body: { id: sid, ...run(document, session, null) } };
  }
  const list = versions.get(id) ?? [];
  if (part === "publish") {
    const errors = validate(flow.document).filter((item) => item.blocking);
    if (errors.length) return problem(422, "problems", errors);
    const version = { number: list.length + 1, document: structuredClone(flow.document), published_at: new Date().toISOString(), published_by: "Ana", note: null };
    versions.set(id, [...list, version]);
    flow.published_version = version.number;
    return { status: 201, body: version };
  }
  if (!sub) return { status: 200, body: { items: list.map(({ document: _document, ...rest }) => rest), next: null } };
  const version = list.find((item) => item.number === Number(sub));
  if (!version) return problem(404, "not found");
  if (action === "restore") {
    if (ifMatch !== `"${flow.revision}"`) return problem(412, "someone else saved");
    Object.assign(flow, { document: structuredClone(version.document), revision: flow.revision + 1 });
    return show(flow);
  }
  return { status: 200, body: version };
}

function simulator(method: string, id: string, part: string | undefined, url: URL, body: Record<string, unknown>): Reply {
  if (!id) {
    const fresh = `chat${chats.size + 1}`;
    chats.set(fresh, { session: { node: null, vars: {}, waiting: false, status: "active" }, messages: [] });
    return { status: 201, body: { id: fresh, channel_id: body.channel_id } };
  }
  const chat = chats.get(id);
  if (!chat) return problem(404, "not found");
  if (method === "DELETE") return void chats.delete(id), { status: 204 };
  if (part !== "messages") return problem(404, "not found");
  if (method === "GET") {
    const from = Number(url.searchParams.get("after") ?? 0);
    return { status: 200, body: { items: chat.messages.slice(from), next: String(chat.messages.length) } };
  }
  const put = (direction: string, text: string, choices: unknown) =>
    chat.messages.push({ id: `m${chat.messages.length}`, direction, text, choices, status: direction === "in" ? "received" : "sent", at: new Date().toISOString() });
  put("in", String(body.text ?? body.choice), []);
  const fresh = chat.session.node === null && !chat.session.waiting;
  setTimeout(() => {
    for (const message of run(demo, chat.session, fresh ? null : { text: body.text as string, choice: body.choice as string }).messages) put("out", message.text, message.choices);
  }, 900);
  return { status: 202, body: {} };
}
