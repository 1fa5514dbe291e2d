// @vitest-environment happy-dom
import { afterEach, describe, expect, it } from "vitest";
import { when } from "../src/designer/panel/VersionsPanel";
import { timeZone } from "../src/shared/zone";

describe("the installation's zone", () => {
  afterEach(() => delete document.body.dataset.timezone);
  it.each([["America/Mexico_City", "Mar 1, 2026, 7:30 PM"], ["Asia/Kolkata", "Mar 2, 2026, 7:00 AM"]])("shows moments by the clock of %s", (name, shown) => {
    document.body.dataset.timezone = name;
    expect(when("2026-03-02T01:30:00Z", "en").replace(/\s/g, " ")).toBe(shown);
  });
  it("falls back to the browser's for a name it does not know", () => {
    document.body.dataset.timezone = "Moon/Tycho";
    expect(timeZone()).toBeUndefined();
    expect(when("2026-03-02T01:30:00Z", "en")).toContain("2026");
  });
});
