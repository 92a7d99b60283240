import type { KeyRange, ShardInfo } from "@heliosdb/metadata";

import { compareKeys } from "../text/keys.js";

/** How wide segments are drawn: all alike, or as much as they take of the key space. */
export type Widths = "even" | "keys";

/** Segment is a shard, or a hole between shards, with its ends as fractions of the key space. */
export interface Segment {
  /** Undefined: a hole. */
  readonly shard: ShardInfo | undefined;
  readonly range: Pick<KeyRange, "start" | "end">;
  readonly start: number;
  readonly end: number;
}

/** So many bytes of a key make its fraction: more do not fit a double. */
const BYTES = 6;

const NO_KEY = new Uint8Array();

/** Lays shards, which come in the order of their keys, side by side, with the holes between them. */
export function lay(shards: readonly ShardInfo[]): Segment[] {
  const segments: Segment[] = [];
  let reached: Uint8Array = NO_KEY;
  let open = true; // keys from reached on have no shard yet
  for (const shard of shards) {
    const start = shard.keyRange?.start ?? NO_KEY;
    const end = shard.keyRange?.end ?? NO_KEY;
    if (open && compareKeys(reached, start) < 0) {
      segments.push(segment(undefined, reached, start));
    }
    segments.push(segment(shard, start, end));
    reached = end;
    open = end.length > 0;
  }
  if (open && shards.length > 0) {
    segments.push(segment(undefined, reached, NO_KEY));
  }
  return segments;
}

function segment(shard: ShardInfo | undefined, start: Uint8Array, end: Uint8Array): Segment {
  return { shard, range: { start, end }, start: fraction(start), end: end.length === 0 ? 1 : fraction(end) };
}

function fraction(key: Uint8Array): number {
  let value = 0;
  for (let i = BYTES - 1; i >= 0; i--) {
    value = (value + (key[i] ?? 0)) / 256;
  }
  return value;
}
