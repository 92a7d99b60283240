import type { Event, Namespace, NodeInfo, ShardInfo, TableSchema } from "@heliosdb/metadata";

/** Effect is an object as an event has left it, or, if it is gone, as it was. */
export type Effect = (
  | { readonly kind: "namespace"; readonly object: Namespace }
  | { readonly kind: "table"; readonly object: TableSchema }
  | { readonly kind: "node"; readonly object: NodeInfo }
  | { readonly kind: "shard"; readonly object: ShardInfo }
) & { readonly gone: boolean };

/**
 * Effects says which objects an event has put or removed. Events carry whole objects, in their
 * first field, so that there is nothing to work out. Kinds that are not known here have none.
 */
export function effects({ kind }: Event): Effect[] {
  switch (kind.case) {
    case "namespaceCreated":
    case "namespaceDropped":
      return of("namespace", kind.value.namespace, kind.case === "namespaceDropped");
    case "tableCreated":
    case "tableAltered":
    case "tableDropped":
      return of("table", kind.value.table, kind.case === "tableDropped");
    case "nodeRegistered":
    case "nodeUnregistered":
    case "nodeCameOnline":
    case "nodeWentOffline":
    case "nodeDrained":
    case "nodeDrainCancelled":
      return of("node", kind.value.node, kind.case === "nodeUnregistered");
    case "shardCreated":
    case "shardChanged":
    case "shardMoved":
    case "shardDeleted":
      return of("shard", kind.value.shard, kind.case === "shardDeleted");
    case "shardSplit":
      return [
        ...of("shard", kind.value.parent, true),
        ...kind.value.children.flatMap((child) => of("shard", child, false)),
      ];
    case "shardsMerged":
      return [
        ...kind.value.parents.flatMap((parent) => of("shard", parent, true)),
        ...of("shard", kind.value.shard, false),
      ];
    default:
      return [];
  }
}

function of<K extends Effect["kind"]>(
  kind: K,
  object: Extract<Effect, { kind: K }>["object"] | undefined,
  gone: boolean,
): Effect[] {
  return object === undefined ? [] : [{ kind, object, gone } as Effect];
}
