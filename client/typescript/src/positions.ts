import { Stream, type Position } from "./gen/heliosdb/metadata/v1/position_pb.js";

/** All streams that positions cover. */
export const STREAMS = [Stream.SCHEMA, Stream.TOPOLOGY] as const;

/** Returns a position's component for a stream. */
export function revisionOf(position: Position | undefined, stream: Stream): bigint {
  switch (stream) {
    case Stream.SCHEMA:
      return position?.schemaRevision ?? 0n;
    case Stream.TOPOLOGY:
      return position?.topologyRevision ?? 0n;
    default:
      return 0n;
  }
}

/** Sets a position's component for a stream. */
export function setRevision(position: Position, stream: Stream, revision: bigint): void {
  switch (stream) {
    case Stream.SCHEMA:
      position.schemaRevision = revision;
      break;
    case Stream.TOPOLOGY:
      position.topologyRevision = revision;
      break;
    default:
      break;
  }
}

/** Returns the larger one. */
export function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
