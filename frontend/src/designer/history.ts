/** Undo and redo as lists of whole values. Typing in one field is one step, however many keys it took. */

/** Older steps than this are forgotten. */
const LONGEST = 100;
/** Changes under the same key within this time are one step. */
const MERGE_MS = 1_200;

export interface History<T> {
  past: T[];
  present: T;
  future: T[];
  key: string | null;
  at: number;
}

export type Step<T> =
  | { type: "edit"; value: T | ((present: T) => T); key?: string; at: number }
  | { type: "undo" }
  | { type: "redo" }
  | { type: "reset"; value: T };

export function begin<T>(present: T): History<T> {
  return { past: [], present, future: [], key: null, at: 0 };
}

export function step<T>(history: History<T>, action: Step<T>): History<T> {
  switch (action.type) {
    case "reset":
      return begin(action.value);
    case "undo": {
      const previous = history.past.at(-1);
      if (previous === undefined) return history;
      return { past: history.past.slice(0, -1), present: previous, future: [history.present, ...history.future], key: null, at: 0 };
    }
    case "redo": {
      const [next, ...future] = history.future;
      if (next === undefined) return history;
      return { past: [...history.past, history.present], present: next, future, key: null, at: 0 };
    }
    case "edit": {
      const value = typeof action.value === "function" ? (action.value as (present: T) => T)(history.present) : action.value;
      if (value === history.present) return history;
      const merges = action.key !== undefined && action.key === history.key && action.at - history.at < MERGE_MS;
      return {
        past: merges ? history.past : [...history.past, history.present].slice(-LONGEST),
        present: value, future: [], key: action.key ?? null, at: action.at,
      };
    }
  }
}
