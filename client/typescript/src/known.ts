import { clone, create, isMessage, type Message } from "@bufbuild/protobuf";

import type { Clock } from "./clock.js";
import { ForeignClusterError } from "./errors.js";
import { PositionSchema, type Position, type Stream } from "./gen/heliosdb/metadata/v1/position_pb.js";
import { WriteResultSchema } from "./gen/heliosdb/metadata/v1/write_pb.js";
import { larger, revisionOf, setRevision, STREAMS } from "./positions.js";

/** How long a revision seen in an answer counts as what the client knows when it sends a write. */
export const KNOWN_FOR_MS = 30_000;

/** Known is of which cluster the members are, and the highest position that answers have shown, and when. */
export class Known {
  readonly #clock: Clock;
  #clusterId: string;
  #position: Position | undefined;
  readonly #seen = new Map<Stream, number>();

  /** The cluster is that of the first answer if none is named. */
  constructor(clock: Clock, clusterId = "") {
    this.#clock = clock;
    this.#clusterId = clusterId;
  }

  /** The id of the cluster that all calls are for; "" while that is not known. */
  get clusterId(): string {
    return this.#clusterId;
  }

  /** Notes the position of an answer and returns true; false if it has none. Throws as see does. */
  learn(answer: Message, endpoint: string, written: boolean): boolean {
    const position = positionOf(answer);
    if (position === undefined) {
      return false;
    }
    this.see(position, endpoint, written);
    return true;
  }

  /** Notes a position; throws a ForeignClusterError if it is one of another cluster. Written: a write has led to it. */
  see(position: Position, endpoint: string, written = false): void {
    if (position.clusterId === "") {
      return;
    }
    this.#clusterId ||= position.clusterId;
    if (this.#clusterId !== position.clusterId) {
      throw foreign(endpoint, position.clusterId, this.#clusterId, written);
    }
    const own = this.#position;
    const epoch = own?.recoveryEpoch ?? 0n;
    if (own === undefined || position.recoveryEpoch > epoch) {
      // What was seen before a restore may be lost.
      this.forget();
      const { clusterId, recoveryEpoch } = position;
      this.#position = create(PositionSchema, { clusterId, recoveryEpoch });
    } else if (position.recoveryEpoch < epoch) {
      return;
    }
    this.#merge(position);
  }

  #merge(position: Position): void {
    for (const stream of STREAMS) {
      const before = revisionOf(this.#position, stream);
      const revision = revisionOf(position, stream);
      if (this.#position !== undefined && revision >= before) {
        setRevision(this.#position, stream, larger(before, revision));
        this.#seen.set(stream, this.#clock.now());
      }
    }
  }

  /** Returns the highest position; undefined if none was seen yet. */
  position(): Position | undefined {
    return this.#position && clone(PositionSchema, this.#position);
  }

  /**
   * Returns a stream's newest revision, if it was seen not long ago; else 0. An old one is worth
   * nothing: a write that comes with it would be refused for what others did meanwhile.
   */
  revision(stream: Stream): bigint {
    const at = this.#seen.get(stream);
    return at === undefined || this.#clock.now() - at > KNOWN_FOR_MS ? 0n : revisionOf(this.#position, stream);
  }

  /** Forgets all that was seen of the cluster: it has gone back behind it. */
  forget(): void {
    this.#position = undefined;
    this.#seen.clear();
  }
}

function positionOf(answer: Message): Position | undefined {
  const { position, result } = answer as Message & { position?: unknown; result?: unknown };
  if (isMessage(position, PositionSchema)) {
    return position;
  }
  return isMessage(result, WriteResultSchema) ? result.position : undefined;
}

/** An endpoint is of another cluster than the client is for. Written: a write took effect there. */
export function foreign(endpoint: string, its: string, own: string, written = false): ForeignClusterError {
  const effect = written ? "; the write took effect in the other cluster" : "";
  return new ForeignClusterError(
    `${endpoint} belongs to cluster ${its}, but this client is for cluster ${own}: name endpoints of one cluster, and make a new client for another one${effect}`,
    endpoint,
    its,
    written,
  );
}
