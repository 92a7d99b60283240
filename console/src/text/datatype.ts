import { TypeKind, type DataType } from "@heliosdb/metadata";

import { quoteName } from "./typetext.js";

/** Deeper levels are not written out; the service takes no more than eight. */
const MAX_DEPTH = 8;

const names: Partial<Record<TypeKind, string>> = { [TypeKind.TIMESTAMP_TZ]: "TIMESTAMP WITH TIME ZONE" };

/** The name of a kind of type. */
export function kindName(kind: TypeKind): string {
  return names[kind] ?? TypeKind[kind] ?? `?${kind}`;
}

/** Writes a type as the command line does. */
export function formatType(type: DataType | undefined, depth = 1): string {
  if (type === undefined) {
    return "?";
  }
  if (depth > MAX_DEPTH) {
    return "…";
  }
  const name = kindName(type.kind);
  switch (type.kind) {
    case TypeKind.DECIMAL:
      return `${name}(${type.precision}, ${type.scale})`;
    case TypeKind.VECTOR:
      return `${name}(${type.dimensions})`;
    case TypeKind.LIST:
      return `${name}<${formatType(type.element, depth + 1)}>`;
    case TypeKind.MAP:
      return `${name}<${formatType(type.key, depth + 1)}, ${formatType(type.element, depth + 1)}>`;
    case TypeKind.STRUCT: {
      const fields = type.fields.map(
        ({ name: field, dataType, nullable }) => `${quoteName(field)} ${formatType(dataType, depth + 1)}${nullable ? "" : " NOT NULL"}`,
      );
      return `${name}<${fields.join(", ")}>`;
    }
    default:
      return name;
  }
}
