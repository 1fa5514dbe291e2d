/**
 * Saves the draft a moment after the last change, one request at a time, each against the revision it was based on.
 *
 * A refused revision (412) stops saving until somebody decides: writing on would silently undo the other person's work.
 * What failed for want of a connection is tried again, ever more slowly.
 */
import { ApiError } from "../shared/http";

export type SaveState = "saved" | "pending" | "saving" | "conflict" | "offline" | "signedOut" | "refused";

const DEBOUNCE_MS = 900;
const RETRY_MS = [2_000, 5_000, 15_000, 30_000];

export class Autosave<T> {
  private wanted: T | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private running: Promise<void> | null = null;
  private failures = 0;
  state: SaveState = "saved";
  reason = "";

  constructor(
    private readonly save: (value: T) => Promise<void>,
    private readonly changed: (state: SaveState, reason: string) => void,
  ) {}

  get dirty(): boolean {
    return this.wanted !== undefined || this.running !== null;
  }

  /** Notes the newest value; it is saved when the author pauses. */
  push(value: T): void {
    this.wanted = value;
    if (this.state === "conflict" || this.state === "signedOut") return;
    this.failures = 0;
    if (!this.running) this.become("pending");
    this.schedule(DEBOUNCE_MS);
  }

  /** Saves now. Resolves true when nothing is left to save. */
  async flush(): Promise<boolean> {
    clearTimeout(this.timer);
    while (this.running) await this.running;
    if (this.wanted !== undefined && this.state !== "conflict") await this.run();
    return !this.dirty;
  }

  /** Forgets what was not saved: the draft was replaced by the server's. */
  discard(): void {
    clearTimeout(this.timer);
    this.wanted = undefined;
    this.failures = 0;
    this.become("saved");
  }

  /** Tries again after a conflict was settled or a session renewed. */
  resume(): Promise<boolean> {
    this.become("pending");
    return this.flush();
  }

  private schedule(delay: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.run(), delay);
  }

  private run(): Promise<void> {
    if (this.running) return this.running;
    const value = this.wanted;
    if (value === undefined) return Promise.resolve();
    this.wanted = undefined;
    this.become("saving");
    this.running = this.save(value)
      .then(
        () => {
          this.failures = 0;
          this.running = null;
          if (this.wanted === undefined) this.become("saved");
          else this.schedule(DEBOUNCE_MS);
        },
        (error: unknown) => {
          this.running = null;
          this.wanted ??= value;
          this.fail(error);
        },
      );
    return this.running;
  }

  private fail(error: unknown): void {
    const status = error instanceof ApiError ? error.status : 0;
    const reason = error instanceof Error ? error.message : "";
    if (status === 412) return this.become("conflict");
    if (status === 401) return this.become("signedOut");
    if (status >= 400 && status < 500 && status !== 408 && status !== 429) return this.become("refused", reason);
    this.become("offline");
    this.schedule(RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)]!);
  }

  private become(state: SaveState, reason = ""): void {
    this.state = state;
    this.reason = reason;
    this.changed(state, reason);
  }
}
