import { clone, create, isMessage, type Message } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";

import type { Clock } from "./clock.js";
import { MetadataError } from "./errors.js";
import { ErrorReason } from "./gen/heliosdb/metadata/v1/error_pb.js";
import { PositionSchema, type Position, type Stream } from "./gen/heliosdb/metadata/v1/position_pb.js";
import { WriteResultSchema } from "./gen/heliosdb/metadata/v1/write_pb.js";
import { larger, revisionOf, setRevision, STREAMS } from "./positions.js";

/** How long a revision seen in an answer counts as what the client knows when it sends a write. */
export const KNOWN_FOR_MS = 30_000;

/** Known is the highest position that answers have shown, and when. */
export class Known {
  readonly #clock: Clock;
  #position: Position | undefined;
  readonly #seen = new Map<Stream, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes the position of an answer, if it has one; throws as see does. */
  learn(answer: Message, endpoint: string, written: boolean): void {
    const position = positionOf(answer);
    if (position !== undefined) {
      this.see(position, endpoint, written);
    }
  }

  /** Notes a position; throws a ForeignError if it is one of another cluster. Written: a write has led to it. */
  see(position: Position, endpoint: string, written = false): void {
    if (position.clusterId === "") {
      return;
    }
    const own = this.#position;
    if (own !== undefined && own.clusterId !== position.clusterId) {
      throw foreign(endpoint, position.clusterId, own.clusterId, written);
    }
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

  /** Forgets everything: the service has gone back behind it. */
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

/** An endpoint is of another cluster than the others are, as its answer shows. */
export class ForeignError extends MetadataError {
  /** The call was a write, which took effect there. */
  readonly written: boolean;

  constructor(message: string, written: boolean) {
    super(message, Code.FailedPrecondition, {
      reason: ErrorReason.FOREIGN_POSITION,
      values: { written: String(written) },
    });
    this.written = written;
  }
}

/** An endpoint is of another cluster than the others are. */
export function foreign(endpoint: string, its: string, own: string, written = false): ForeignError {
  const effect = written ? "; the write took effect in the other cluster" : "";
  return new ForeignError(
    `${endpoint} belongs to cluster ${its}, but what this client has seen before to cluster ${own}: name endpoints of one cluster, and make a new client for another one${effect}`,
    written,
  );
}
