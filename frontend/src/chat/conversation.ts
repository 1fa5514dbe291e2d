/**
 * A chat on the simulator channel: real machinery answers, so the page polls for what comes out.
 *
 * It polls quickly while an answer is awaited, slowly otherwise, and not at all while the tab is hidden.
 */
import { ApiError, type Api } from "../shared/http";
import type { ChatChoice } from "./ChatWindow";

export interface Message {
  id: string;
  direction: "in" | "out";
  text: string;
  choices: ChatChoice[];
  status: string | null;
  at: string | null;
}

export interface ChatState {
  id: string | null;
  messages: Message[];
  /** Sent from here and not yet seen among the server's messages. */
  waiting: { key: string; text: string; failed: boolean }[];
  typing: boolean;
  error: "none" | "offline" | "gone" | "refused";
  reason: string;
}

const BUSY_MS = 700;
const IDLE_MS = 3_000;
/** How long after an answer it is still polled quickly. */
const SETTLE_MS = 2_500;
/** After this long without a message, nobody is "typing" any more. */
const PATIENCE_MS = 12_000;

interface Page { items: Message[]; next: string | null }

export class Conversation {
  state: ChatState = { id: null, messages: [], waiting: [], typing: false, error: "none", reason: "" };
  private cursor: string | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private awaitedUntil = 0;
  private answered = true;
  private generation = 0;

  constructor(
    private readonly api: Api,
    private readonly base: string,
    private readonly changed: (state: ChatState) => void,
    private readonly now: () => number = Date.now,
    private readonly hidden: () => boolean = () => document.hidden,
  ) {}

  async open(channelId: string, contact: { name?: string; phone?: string } = {}): Promise<void> {
    const generation = this.forget();
    try {
      const { data } = await this.api<{ id: string }>("POST", `${this.base}/chats`, { body: { channel_id: channelId, ...contact } });
      if (generation !== this.generation) return;
      this.set({ id: data.id });
      this.schedule();
    } catch (error) {
      if (generation === this.generation) this.fail(error);
    }
  }

  /** Goes on with a chat begun before the page was reloaded. */
  async resume(id: string): Promise<void> {
    const generation = this.forget();
    this.set({ id });
    await this.poll(generation);
  }

  async send(text: string, choice?: string): Promise<void> {
    const id = this.state.id;
    if (!id) return;
    const generation = this.generation;
    const key = `${this.now()}-${this.state.waiting.length}`;
    this.awaitedUntil = this.now() + PATIENCE_MS;
    this.answered = false;
    this.set({ waiting: [...this.state.waiting, { key, text, failed: false }], typing: true });
    try {
      await this.api("POST", `${this.base}/chats/${id}/messages`, { body: choice === undefined ? { text } : { text, choice } });
      if (generation === this.generation) await this.poll(generation);
    } catch (error) {
      if (generation !== this.generation) return;
      this.set({ waiting: this.state.waiting.map((item) => (item.key === key ? { ...item, failed: true } : item)), typing: false });
      this.fail(error);
    }
  }

  async close(): Promise<void> {
    const id = this.state.id;
    this.forget();
    if (id) await this.api("DELETE", `${this.base}/chats/${id}`).catch(() => undefined);
  }

  /** The tab came back, or went away. */
  wake(): void {
    clearTimeout(this.timer);
    if (!this.hidden() && this.state.id) void this.poll(this.generation);
  }

  stop(): void {
    this.generation++;
    clearTimeout(this.timer);
  }

  private forget(): number {
    this.stop();
    this.cursor = null;
    this.awaitedUntil = 0;
    this.set({ id: null, messages: [], waiting: [], typing: false, error: "none", reason: "" });
    return this.generation;
  }

  private async poll(generation: number): Promise<void> {
    clearTimeout(this.timer);
    const { id } = this.state;
    if (!id || generation !== this.generation) return;
    try {
      const after = this.cursor ? `?after=${encodeURIComponent(this.cursor)}` : "";
      const { data } = await this.api<Page>("GET", `${this.base}/chats/${id}/messages${after}`);
      if (generation !== this.generation) return;
      this.take(data);
    } catch (error) {
      if (generation !== this.generation) return;
      this.fail(error);
      if (this.state.error === "gone") return;
    }
    this.schedule();
  }

  private take(page: Page): void {
    this.cursor = page.next ?? this.cursor;
    const known = new Map(this.state.messages.map((message) => [message.id, message]));
    let waiting = this.state.waiting;
    for (const message of page.items) {
      if (!known.has(message.id)) {
        if (message.direction === "in") {
          const index = waiting.findIndex((item) => !item.failed);
          if (index >= 0) waiting = waiting.filter((_, place) => place !== index);
        } else if (!this.answered) {
          this.answered = true;
          this.awaitedUntil = Math.min(this.awaitedUntil, this.now() + SETTLE_MS); // more lines may follow the first
        }
      }
      known.set(message.id, message);
    }
    const typing = this.now() < this.awaitedUntil && !this.answered;
    if (!page.items.length && typing === this.state.typing && this.state.error === "none") return;
    this.set({ messages: [...known.values()], waiting, typing, error: "none", reason: "" });
  }

  private schedule(): void {
    clearTimeout(this.timer);
    if (this.hidden()) return;
    const generation = this.generation;
    this.timer = setTimeout(() => void this.poll(generation), this.now() < this.awaitedUntil ? BUSY_MS : IDLE_MS);
  }

  private fail(error: unknown): void {
    const status = error instanceof ApiError ? error.status : 0;
    const kind = status === 404 ? "gone" : status >= 400 && status < 500 && status !== 429 ? "refused" : "offline";
    this.set({ error: kind, typing: false, reason: error instanceof ApiError ? (error.problems[0]?.message ?? error.message) : "" });
  }

  private set(change: Partial<ChatState>): void {
    this.state = { ...this.state, ...change };
    this.changed(this.state);
  }
}
