import type { Change, Event, NodeInfo, ShardInfo, TableSchema } from "@heliosdb/metadata";

import { formatRange } from "./keys.js";
import { plural } from "./numbers.js";
import { nodeTypeName } from "./streams.js";

/** How many events of a change a line names. */
const MAX_NAMED = 2;

/** What kind of event it is, in words: "table created". */
export function eventName({ kind }: Event): string {
  return kind.case === undefined ? "unknown event" : kind.case.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

/** What an event is about, on one line. */
export function eventObject({ kind }: Event): string {
  switch (kind.case) {
    case "namespaceCreated":
    case "namespaceDropped":
      return kind.value.namespace?.name ?? "";
    case "tableCreated":
    case "tableDropped":
      return tableName(kind.value.table);
    case "tableAltered": {
      const { table, previousName, previousNamespace } = kind.value;
      const renamed = table?.name !== previousName || table.namespace !== previousNamespace;
      return tableName(table) + (renamed ? `, was ${previousNamespace}.${previousName}` : `, version ${table.version}`);
    }
    case "nodeRegistered":
    case "nodeUnregistered":
    case "nodeCameOnline":
    case "nodeWentOffline":
    case "nodeDrained":
    case "nodeDrainCancelled":
      return nodeLine(kind.value.node);
    case "shardCreated":
    case "shardChanged":
    case "shardMoved":
    case "shardDeleted":
      return shardLine(kind.value.shard);
    case "shardSplit":
      return `${kind.value.parent?.shardId} into ${kind.value.children.map((child) => shardLine(child)).join(" and ")}`;
    case "shardsMerged":
      return `${kind.value.parents.map(({ shardId }) => shardId).join(", ")} into ${shardLine(kind.value.shard)}`;
    case undefined:
      return "this console is older than the service; reload it from an upgraded member";
    default:
      return "";
  }
}

/** The kinds of a change's events, each once. */
export function changeNames({ events }: Change): string[] {
  return [...new Set(events.map(eventName))];
}

/** What a change is about, on one line. */
export function changeObjects({ events }: Change): string {
  const named = events.slice(0, MAX_NAMED).map(eventObject).join("; ");
  return events.length > MAX_NAMED ? `${named} and ${plural(events.length - MAX_NAMED, "more event")}` : named;
}

function tableName(table: TableSchema | undefined): string {
  return table === undefined ? "" : `${table.namespace}.${table.name}`;
}

function nodeLine(node: NodeInfo | undefined): string {
  return node === undefined ? "" : `${node.nodeId} (${nodeTypeName(node.nodeType)} at ${node.addr})`;
}

function shardLine(shard: ShardInfo | undefined): string {
  return shard === undefined ? "" : `${shard.shardId} ${formatRange(shard.keyRange)} on ${shard.primaryNode}`;
}
