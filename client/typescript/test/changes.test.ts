import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

import { StreamChangesRequestSchema } from "../src/gen/heliosdb/metadata/v1/history_service_pb.js";
import {
  ErrorReason,
  isCanceled,
  MetadataError,
  Stream,
  type Client,
  type StreamChangesRequest,
  type StreamChangesResponse,
} from "../src/index.js";
import { clientOf, failure, FakeClock, type Member } from "./fake.js";

type Answer = Partial<Omit<StreamChangesResponse, "$typeName">>;
type Serve = (request: StreamChangesRequest, signal: AbortSignal) => AsyncIterable<Answer>;

/** A member that serves the history of cluster "c" as told, unless it is of another one. */
function archive(serve: Serve, clusterId = "c", recoveryEpoch = 1n): Member {
  return {
    history: {
      async *streamChanges(request, { signal }) {
        for await (const answer of serve(request, signal)) {
          yield { ...answer, changes: answer.changes ?? [] };
        }
      },
      getHead: () => ({ clusterId, recoveryEpoch }),
    },
  };
}

/** Changes of revisions, all that were looked at. */
function part(...revisions: number[]): Answer {
  const changes = revisions.map((revision) => ({ revision: BigInt(revision) })) as StreamChangesResponse["changes"];
  return { changes, lookedAtRevision: BigInt(revisions.at(-1) ?? 0) };
}

function first(request: StreamChangesRequest): number {
  return Math.max(1, Number(request.selection?.firstRevision ?? 0n));
}

const selection = { stream: Stream.SCHEMA };

/** Reads until enough revisions have come, it has ended, or has failed. */
async function read(
  client: Client,
  enough = Infinity,
  request: Parameters<Client["history"]["streamChanges"]>[0] = { selection },
  options: Parameters<Client["history"]["streamChanges"]>[1] = {},
): Promise<{ revisions: number[]; error?: MetadataError }> {
  const revisions: number[] = [];
  try {
    for await (const { changes } of client.history.streamChanges(request, options)) {
      revisions.push(...changes.map(({ revision }) => Number(revision)));
      if (revisions.length >= enough) {
        break;
      }
    }
  } catch (error) {
    return { revisions, error: error as MetadataError };
  }
  return { revisions };
}

function upTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1);
}

/** Numbers by chance that are the same for each seed. */
function chance(seed: number): (below: number) => number {
  let state = (seed * 2654435761) >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("a stream of changes", () => {
  it.each([1, 2, 3, 4, 5, 6])("has each change once, whatever breaks (seed %i)", async (seed) => {
    const below = chance(seed);
    const last = 200;
    let breaks = 0;
    const serve: Serve = async function* (request) {
      for (let at = first(request); at <= last; ) {
        if (below(4) === 0) {
          breaks++;
          throw new ConnectError("broken", Code.Unavailable);
        }
        const end = Math.min(last, at + below(9));
        // Some are not selected; that they were looked at is said.
        yield { ...part(...upTo(end).filter((revision) => revision >= at && revision % 3 !== 0)), lookedAtRevision: BigInt(end) };
        at = end + 1;
      }
    };
    const client = clientOf([archive(serve), archive(serve), archive(serve)]);
    const { revisions, error } = await read(client);
    expect(error).toBeUndefined();
    expect(revisions).toEqual(upTo(last).filter((revision) => revision % 3 !== 0));
    expect(breaks).toBeGreaterThan(0);
  });

  it("leaves out what a member sends a second time", async () => {
    const repeating = archive(async function* (request) {
      yield part(1, 2, 3);
      if (first(request) === 1) {
        throw new ConnectError("broken", Code.Unavailable);
      }
      yield part(4);
    });
    expect(await read(clientOf([repeating]))).toEqual({ revisions: [1, 2, 3, 4] });
  });

  it("is done when the last change was there, although the connection broke before it ended", async () => {
    let asked = 0;
    const member = archive(async function* () {
      asked++;
      yield part(1, 2);
      throw new ConnectError("broken", Code.Unavailable);
    });
    const request = { selection: { ...selection, lastRevision: 2n } };
    expect(await read(clientOf([member]), Infinity, request)).toEqual({ revisions: [1, 2] });
    expect(asked).toBe(1);
  });

  it("follows on when a member ends it, and ends with its signal", async () => {
    const asked: number[] = [];
    const member = archive(async function* (request) {
      asked.push(first(request));
      yield part(first(request));
    });
    const stop = new AbortController();
    const client = clientOf([member]);
    const messages = client.history.streamChanges({ selection, follow: true }, { signal: stop.signal });
    const got: bigint[] = [];
    const error: unknown = await (async () => {
      for await (const { lookedAtRevision } of messages) {
        got.push(lookedAtRevision);
        if (got.length === 3) {
          stop.abort();
        }
      }
    })().catch((thrown: unknown) => thrown);
    expect(isCanceled(error)).toBe(true);
    expect(got).toEqual([1n, 2n, 3n]);
    expect(asked.slice(0, 3)).toEqual([1, 2, 3]);
  });

  it("goes on where another member has what one lacks, and ends when nobody has it", async () => {
    const lacking = (reason: "HISTORY_GAP" | "DAMAGED", after: number) =>
      archive(async function* (request) {
        if (first(request) <= after) {
          yield part(...upTo(after).slice(first(request) - 1));
        }
        throw failure(reason === "DAMAGED" ? Code.DataLoss : Code.Unavailable, reason);
      });
    const both = await read(clientOf([lacking("DAMAGED", 2), lacking("HISTORY_GAP", 4)]));
    expect(both.revisions).toEqual([1, 2, 3, 4]);
    expect([ErrorReason.DAMAGED, ErrorReason.HISTORY_GAP]).toContain(both.error?.reason);
  });

  it("waits for members that are behind what it has seen", async () => {
    let asked = 0;
    const ahead = archive(async function* (request) {
      if (first(request) > 1) {
        throw new ConnectError("down", Code.Unavailable);
      }
      yield part(1, 2, 3);
      throw new ConnectError("broken", Code.Unavailable);
    });
    const behind = archive(async function* (request) {
      if (++asked < 4) {
        throw failure(Code.OutOfRange, "FUTURE_REVISION");
      }
      yield part(first(request));
    });
    expect(await read(clientOf([ahead, behind]))).toEqual({ revisions: [1, 2, 3, 4] });
    // Without anything seen, it is the caller's mistake.
    asked = 0;
    const { error } = await read(clientOf([behind]));
    expect(error?.reason).toBe(ErrorReason.FUTURE_REVISION);
    expect(asked).toBe(1);
  });

  it("ends with an answer that is final, and when nobody has answered for long", async () => {
    const ended = (error: ConnectError) =>
      archive(async function* (request) {
        if (first(request) === 1) {
          yield part(1, 2);
        }
        throw error;
      });
    const trimmed = await read(clientOf([ended(failure(Code.OutOfRange, "HISTORY_TRIMMED"))]));
    expect(trimmed).toMatchObject({ revisions: [1, 2], error: { reason: ErrorReason.HISTORY_TRIMMED } });
    const clock = new FakeClock();
    const began = clock.now();
    const down = await read(clientOf([ended(new ConnectError("down", Code.Unavailable))], { clock, timeoutMs: 3_000 }));
    expect(down).toMatchObject({ revisions: [1, 2], error: { code: Code.Unavailable } });
    expect(clock.now() - began).toBeGreaterThan(2_000);
    expect(clock.now() - began).toBeLessThanOrEqual(3_000);
  });

  it("takes no other history for its continuation", async () => {
    const broken = archive(async function* () {
      yield part(1);
      throw new ConnectError("broken", Code.Unavailable);
    });
    const whole: Serve = async function* (request) {
      yield part(first(request));
    };
    const other = await read(clientOf([broken, archive(whole, "other")]));
    expect(other.revisions).toEqual([1]);
    expect(other.error?.message).toContain("http://m1:9000 belongs to cluster other");
    const restored = await read(clientOf([broken, archive(whole, "c", 2n)]));
    expect(restored.error?.message).toContain("recovery epoch 2");
    expect((await read(clientOf([broken, archive(whole)]))).revisions).toEqual([1, 2]);
  });

  it("has what belongs to a first message in the very first one only", async () => {
    const member = archive(async function* (request) {
      const own = { clusterId: "c", recoveryEpoch: 1n, previousDigest: new Uint8Array([7]) };
      yield { ...part(first(request)), originals: [new Uint8Array([first(request)])], ...own };
      if (first(request) < 3) {
        throw new ConnectError("broken", Code.Unavailable);
      }
    });
    const got: StreamChangesResponse[] = [];
    for await (const message of clientOf([member]).history.streamChanges({ selection, originals: true })) {
      got.push(message);
    }
    expect(got.map(({ originals }) => originals[0]?.[0])).toEqual([1, 2, 3]);
    expect(got.map(({ clusterId }) => clusterId)).toEqual(["c", "", ""]);
    expect(got.map(({ recoveryEpoch }) => recoveryEpoch)).toEqual([1n, 0n, 0n]);
    expect(got.map(({ previousDigest }) => previousDigest.length)).toEqual([1, 0, 0]);
  });

  it("leaves a silent member, and not for a caller that is slow", async () => {
    const clock = new FakeClock();
    const silent = archive(async function* (_, signal) {
      yield part(1);
      yield part(2);
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    });
    const next = archive(async function* (request) {
      yield part(first(request));
    });
    const retried: string[] = [];
    const client = clientOf([silent, next], { clock, onRetry: ({ error }) => retried.push(error.message) });
    const messages = client.history.streamChanges({ selection })[Symbol.asyncIterator]();
    await messages.next();
    clock.advance(60_000); // the caller works on the first message
    expect((await messages.next()).value).toMatchObject({ lookedAtRevision: 2n });
    const third = messages.next();
    await new Promise(setImmediate);
    clock.advance(7_999);
    expect(retried).toEqual([]);
    clock.advance(1);
    expect((await third).value).toMatchObject({ lookedAtRevision: 3n });
    expect(retried).toEqual(["no message for 8000 ms"]);
    expect((await messages.next()).done).toBe(true);
  });

  it("ends at the caller's deadline, and leaves the caller's request as it is", async () => {
    const member = archive(async function* (request) {
      yield part(first(request));
    });
    const request = create(StreamChangesRequestSchema, { selection, follow: true });
    const clock = new FakeClock();
    const { revisions, error } = await read(clientOf([member], { clock }), Infinity, request, { timeoutMs: 500 });
    expect(revisions.length).toBeGreaterThan(1);
    expect(error?.code).toBe(Code.Unavailable);
    expect(request.selection?.firstRevision).toBe(0n);
  });
});
