import { Code, Consistency, ErrorReason, MetadataError, Stream, type Change, type Position } from "@heliosdb/metadata";

import { service } from "../service/service.js";

/** So long what is heard may wait for the check; it is made again with the next frame. */
const TIMEOUT_MS = 2_000;

/** What a change is known by. */
type Mark = Pick<Change, "revision" | "time" | "requestId" | "commandHash">;

/**
 * Thread is what tells a history from another one that has begun at the same address: the last
 * change of each stream that was heard. The cluster's id does not always: it follows from the
 * members' addresses and the cluster's name, which a service that was wiped has again.
 */
export class Thread {
  readonly #marks = new Map<Stream, Mark>();

  /** Notes the last change that was heard of a stream. */
  heard(stream: Stream, change: Change | undefined): void {
    if (change !== undefined) {
      const { revision, time, requestId, commandHash } = change;
      this.#marks.set(stream, { revision, time, requestId, commandHash });
    }
  }

  /** Forgets all: what comes is another history. */
  cut(): void {
    this.#marks.clear();
  }

  /**
   * Sees that the service has the history that was heard up to a position; throws
   * FOREIGN_POSITION if it has another one. Where nothing was heard of a stream, it is what the
   * service has; what is not kept any more cannot be compared.
   */
  async check({ schemaRevision, topologyRevision }: Position): Promise<void> {
    await Promise.all([this.#check(Stream.SCHEMA, schemaRevision), this.#check(Stream.TOPOLOGY, topologyRevision)]);
  }

  async #check(stream: Stream, reached: bigint): Promise<void> {
    const mark = this.#marks.get(stream);
    const revision = mark?.revision ?? reached;
    if (revision === 0n) {
      return;
    }
    const there = await changeAt(stream, revision);
    if (mark === undefined || there === undefined) {
      this.#marks.delete(stream);
      this.heard(stream, there);
    } else if (!same(mark, there)) {
      throw new MetadataError(`change ${revision} of the ${Stream[stream]} stream is another one than it was: the service has begun anew`, Code.FailedPrecondition, {
        reason: ErrorReason.FOREIGN_POSITION,
      });
    }
  }
}

/** Reads a change of the member that this page is of; undefined if it is not kept any more. */
async function changeAt(stream: Stream, revision: bigint): Promise<Change | undefined> {
  try {
    const selection = { stream, firstRevision: revision, lastRevision: revision };
    const request = { selection, pageSize: 1, read: { consistency: Consistency.LOCAL } };
    const page = await service().history.readChanges(request, { timeoutMs: TIMEOUT_MS });
    return page.changes[0];
  } catch (error) {
    if (error instanceof MetadataError && error.reason === ErrorReason.HISTORY_TRIMMED) {
      return undefined;
    }
    throw error;
  }
}

/** Whether two changes are one. */
export function same(a: Mark, b: Mark): boolean {
  const hash = ({ commandHash }: Mark) => commandHash.join();
  return a.requestId === b.requestId && a.time?.seconds === b.time?.seconds && a.time?.nanos === b.time?.nanos && hash(a) === hash(b);
}
