import { ToastStrategy, TypeKind, type ColumnSchema } from "@heliosdb/metadata";

import { kindName } from "../text/datatype.js";
import { parseType } from "../text/typetext.js";
import { Unreadable } from "./submission.svelte.js";

/** Draft is a column as it is being written. */
export interface Draft {
  name: string;
  /** As the command line takes types. */
  type: string;
  nullable: boolean;
  key: boolean;
  default: string;
  comment: string;
  toast: ToastStrategy;
}

type Column = Pick<ColumnSchema, "name" | "nullable" | "comment" | "toastStrategy" | "default"> & { readonly dataType: ReturnType<typeof parseType> };

/** Kinds that are nothing without their parameters, and how those are written. */
const examples: Partial<Record<TypeKind, string>> = {
  [TypeKind.DECIMAL]: "DECIMAL(18, 2)",
  [TypeKind.VECTOR]: "VECTOR(768)",
  [TypeKind.LIST]: "LIST<STRING>",
  [TypeKind.STRUCT]: "STRUCT<name STRING NOT NULL, at TIMESTAMP>",
  [TypeKind.MAP]: "MAP<STRING, INT64>",
};

/** Types to begin with. */
export const suggestions: readonly string[] = Object.values(TypeKind)
  .filter((kind): kind is TypeKind => typeof kind === "number" && kind !== TypeKind.UNSPECIFIED)
  .map((kind) => examples[kind] ?? kindName(kind));

/** How large values can be stored, and what that means. */
export const strategies: readonly (readonly [ToastStrategy, string])[] = [
  [ToastStrategy.UNSPECIFIED, "as the type has it"],
  [ToastStrategy.PLAIN, "PLAIN: always inline"],
  [ToastStrategy.EXTENDED, "EXTENDED: compressed, then out of line"],
  [ToastStrategy.EXTERNAL, "EXTERNAL: always out of line"],
  [ToastStrategy.MAIN, "MAIN: inline while possible"],
];

export function newDraft(): Draft {
  return { name: "", type: "", nullable: false, key: false, default: "", comment: "", toast: ToastStrategy.UNSPECIFIED };
}

/** Makes the columns of drafts; the service judges them. Throws Unreadable if a type cannot be read. */
export function columnsOf(drafts: readonly Draft[]): Column[] {
  const unreadable = new Unreadable();
  const columns = drafts.map((draft, i) => ({
    name: draft.name,
    nullable: draft.nullable,
    comment: draft.comment,
    toastStrategy: draft.toast,
    dataType: unreadable.guard(`table.columns[${i}].data_type`, () => parseType(draft.type)),
    ...(draft.default === "" ? {} : { default: draft.default }),
  }));
  unreadable.throwIfAny();
  return columns as Column[];
}
