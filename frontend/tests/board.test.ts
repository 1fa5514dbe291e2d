// @vitest-environment happy-dom
import { beforeEach, describe, expect, it } from "vitest";
import { mountBoard } from "../src/board";
import { ApiError, type Api } from "../src/shared/http";

const MARKUP = { new: ["ana", "ben"], won: ["eva"] };

function build(): HTMLElement {
  document.body.replaceChildren();
  const board = document.createElement("div");
  board.dataset.board = "";
  board.dataset.locale = "en";
  for (const [stage, cards] of Object.entries(MARKUP)) {
    const column = document.createElement("section");
    column.dataset.boardColumn = stage;
    column.setAttribute("aria-label", stage);
    const count = document.createElement("span");
    count.dataset.boardCount = "";
    count.textContent = "40";
    const list = document.createElement("div");
    list.dataset.boardCards = "";
    for (const name of cards) {
      const card = document.createElement("article");
      Object.assign(card.dataset, { boardCard: "", name, url: `/leads/${name}`, etag: '"1"' });
      list.append(card);
    }
    column.append(count, list);
    board.append(column);
  }
  document.body.append(board);
  return board;
}

const names = (board: HTMLElement, stage: string) => [...board.querySelectorAll<HTMLElement>(`[data-board-column="${stage}"] [data-board-card]`)].map((card) => card.dataset.name);
const press = (board: HTMLElement, name: string, key: string) => board.querySelector(`[data-name="${name}"]`)!.dispatchEvent(new KeyboardEvent("keydown", { key, altKey: true, bubbles: true }));
const settled = () => new Promise((done) => setTimeout(done, 0));

describe("board", () => {
  let board: HTMLElement;
  beforeEach(() => void (board = build()));

  it("moves a card by keyboard, tells the server the stage it saw, and keeps the new ETag", async () => {
    const calls: unknown[] = [];
    mountBoard(board, (async (method: string, path: string, options: unknown) => {
      calls.push([method, path, options]);
      return { data: {}, etag: '"2"' };
    }) as Api);
    press(board, "ana", "ArrowRight");
    await settled();
    expect(calls).toEqual([["PATCH", "/leads/ana", { body: { stage: "won" }, ifMatch: '"1"' }]]);
    expect(names(board, "won")).toEqual(["ana", "eva"]);
    expect(board.querySelector<HTMLElement>('[data-name="ana"]')!.dataset.etag).toBe('"2"');
    expect([...board.querySelectorAll("[data-board-count]")].map((label) => label.textContent)).toEqual(["39", "41"]);
    expect(board.querySelector("[aria-live]")!.textContent).toBe("ana moved to won");
  });
  it("puts a refused card back in its place and says why", async () => {
    mountBoard(board, (async () => {
      throw new ApiError(409, "Amount missing");
    }) as Api);
    press(board, "ana", "ArrowRight");
    await settled();
    expect(names(board, "new")).toEqual(["ana", "ben"]);
    expect(document.querySelector(".em-toast")!.textContent).toContain("Amount missing");
    expect([...board.querySelectorAll("[data-board-count]")].map((label) => label.textContent)).toEqual(["40", "40"]);
  });
  it("does not leave the last column", async () => {
    mountBoard(board, (async () => {
      throw new Error("not to be called");
    }) as Api);
    press(board, "eva", "ArrowRight");
    expect(names(board, "won")).toEqual(["eva"]);
    expect(board.querySelector("[aria-live]")!.textContent).toContain("already in the last column");
  });
});
