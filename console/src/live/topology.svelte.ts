import { Stream, type Change, type NodeInfo, type ShardInfo, type Topology as TopologyMessage } from "@heliosdb/metadata";

import { service } from "../service/service.js";
import { compareKeys } from "../text/keys.js";
import { effects } from "./effects.js";
import { Follower, sinceSession, type Page } from "./follower.svelte.js";

const PAGE_SIZE = 1_000;

/** Topology is all nodes and shards, as they are now. */
class Topology extends Follower {
  /** By id. */
  nodes = $state.raw<readonly NodeInfo[]>([]);
  /** By key. */
  shards = $state.raw<readonly ShardInfo[]>([]);

  readonly #nodes = new Map<string, NodeInfo>();
  readonly #shards = new Map<bigint, ShardInfo>();

  constructor() {
    super(Stream.TOPOLOGY);
  }

  protected clear(): void {
    this.#nodes.clear();
    this.#shards.clear();
  }

  protected async *pages(): AsyncGenerator<Page> {
    for (let pageToken = ""; ; ) {
      const page = await service().metadata.getTopology({ pageSize: PAGE_SIZE, pageToken, read: sinceSession() });
      yield { revision: page.position?.topologyRevision ?? 0n, take: () => this.#take(page.topology) };
      pageToken = page.nextPageToken;
      if (pageToken === "") {
        return;
      }
    }
  }

  #take(part: TopologyMessage | undefined): void {
    for (const node of part?.nodes ?? []) {
      this.#nodes.set(node.nodeId, node);
    }
    for (const shard of part?.shards ?? []) {
      this.#shards.set(shard.shardId, shard);
    }
  }

  protected fold(change: Change): void {
    for (const event of change.events) {
      for (const effect of effects(event)) {
        if (effect.kind === "node") {
          set(this.#nodes, effect.object.nodeId, effect.gone ? undefined : effect.object);
        } else if (effect.kind === "shard") {
          set(this.#shards, effect.object.shardId, effect.gone ? undefined : effect.object);
        }
      }
    }
  }

  protected publish(): void {
    this.nodes = [...this.#nodes.values()].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
    this.shards = [...this.#shards.values()].sort((a, b) => compareKeys(a.keyRange?.start, b.keyRange?.start));
  }
}

function set<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) {
    map.delete(key);
  } else {
    map.set(key, value);
  }
}

export const topology = new Topology();
