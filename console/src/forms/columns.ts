import { TypeKind } from "@heliosdb/metadata";

/** Draft is a column as it is being written. */
export interface Draft {
  name: string;
  kind: TypeKind;
  /** DECIMAL. */
  precision: number;
  scale: number;
  /** VECTOR. */
  dimensions: number;
  nullable: boolean;
  key: boolean;
  default: string;
}

/** Types that hold other types are written in documents: a form for them would be a tree. */
const nested = new Set([TypeKind.UNSPECIFIED, TypeKind.LIST, TypeKind.STRUCT, TypeKind.MAP]);

/** The kinds of types that the form offers. */
export const kinds = Object.values(TypeKind).filter((kind): kind is TypeKind => typeof kind === "number" && !nested.has(kind));

export function newDraft(): Draft {
  return { name: "", kind: TypeKind.INT64, precision: 18, scale: 2, dimensions: 768, nullable: false, key: false, default: "" };
}

/** Makes the column of a draft; the service judges it. */
export function columnOf(draft: Draft) {
  const { kind } = draft;
  return {
    name: draft.name,
    nullable: draft.nullable,
    dataType: {
      kind,
      ...(kind === TypeKind.DECIMAL ? { precision: draft.precision, scale: draft.scale } : {}),
      ...(kind === TypeKind.VECTOR ? { dimensions: draft.dimensions } : {}),
    },
    ...(draft.default === "" ? {} : { default: draft.default }),
  };
}
