import { NodeStatus, NodeType, Role, Stream } from "@heliosdb/metadata";

/** The name of a stream, as in paths and on the command line. */
export function streamName(stream: Stream): string {
  return (Stream[stream] ?? `stream ${stream}`).toLowerCase();
}

/** The stream of a name. */
export function streamNamed(name: string): Stream | undefined {
  const stream: unknown = Stream[name.toUpperCase() as keyof typeof Stream];
  return typeof stream === "number" ? stream : undefined;
}

/** The name of a member's part in a stream. */
export function roleName(role: Role): string {
  return role === Role.UNSPECIFIED ? "–" : (Role[role] ?? `role ${role}`).toLowerCase();
}

/** The name of a node's status. */
export function statusName(status: NodeStatus): string {
  return (NodeStatus[status] ?? `status ${status}`).toLowerCase();
}

/** The name of a node's type. */
export function nodeTypeName(type: NodeType): string {
  return (NodeType[type] ?? `type ${type}`).toLowerCase();
}

/** Whether a text from an address is a number as ids and revisions are: 64 bits, above 0. */
export function isId(text: string): boolean {
  return /^[1-9][0-9]{0,18}$/.test(text);
}
