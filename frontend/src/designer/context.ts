import { createContext, useContext } from "react";
import type { Problem } from "../shared/http";
import type { FlowDocument } from "./document";
import type { Template } from "./flow";

/** What the parts of the designer share. `edit` changes under one key merge into one undo step. */
export interface DesignerScope {
  document: FlowDocument;
  readOnly: boolean;
  problems: ReadonlyMap<string, Problem[]>;
  templates: Template[] | null;
  edit: (change: (document: FlowDocument) => FlowDocument, key?: string) => void;
  focusNode: (id: string) => void;
  removeSelected: (ids: readonly string[]) => void;
  duplicate: (ids: readonly string[]) => void;
}

export const DesignerContext = createContext<DesignerScope | null>(null);

export function useDesigner(): DesignerScope {
  const scope = useContext(DesignerContext);
  if (!scope) throw new Error("outside the designer");
  return scope;
}
