import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

import {
  ForeignClusterError,
  isCanceled,
  isInvalid,
  MetadataError,
  SNAPSHOT_INTERRUPTED,
  Stream,
  type Client,
  type Frame,
  type SubscribeRequest,
  type SubscribeResponse,
  type WatchOptions,
} from "../src/index.js";
import { at, bookmark, changes, clientOf, failure, FakeClock, reset, snapshot, type Member } from "./fake.js";

const { SCHEMA, TOPOLOGY } = Stream;

type Subscribe = (request: SubscribeRequest, signal: AbortSignal) => AsyncIterable<SubscribeResponse>;

/** A member that serves Subscribe as told, of cluster "c" unless it is of another one. */
function publisher(subscribe: Subscribe, clusterId = "c"): Member {
  return {
    metadata: { subscribe: (request, { signal }) => subscribe(request, signal) },
    cluster: { status: () => ({ clusterId }) },
  };
}

/** Waits until the subscriber is gone. */
function gone(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener("abort", () => resolve())));
}

function revisionsOf(frame: Frame): number[] {
  return frame.case === "changes" ? frame.value.changes.map(({ revision }) => Number(revision)) : [];
}

/** Collects frames until one satisfies a condition, or an error ends the watch. */
async function collect(
  client: Client,
  until: (frame: Frame) => boolean,
  options: WatchOptions = {},
  request: Parameters<Client["watch"]>[0] = {},
): Promise<{ frames: Frame[]; error?: unknown }> {
  const frames: Frame[] = [];
  try {
    for await (const frame of client.watch(request, options)) {
      frames.push(frame);
      if (until(frame)) {
        break;
      }
    }
  } catch (error) {
    return { frames, error };
  }
  return { frames };
}

const fromSnapshot = { start: { case: "snapshot", value: true } } as const;

/** Numbers by chance that are the same for each seed. */
function chance(seed: number): (below: number) => number {
  let state = seed * 2654435761 + 1;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % below;
  };
}

/**
 * A service that breaks its subscriptions after a few frames, goes slightly back when it resumes
 * one, and has ever more history.
 */
function erratic(below: (n: number) => number): Subscribe {
  let head = 0;
  return async function* (request) {
    head += below(20);
    const out: SubscribeResponse[] = [];
    let next = request.start.case === "after" ? Number(request.start.value.schemaRevision) + 1 : 1;
    if (request.start.case === "snapshot") {
      out.push(snapshot(SCHEMA, head), snapshot(TOPOLOGY, 0), bookmark(at(head)));
      next = head + 1;
      head += 10;
    }
    next -= Math.min(next - 1, below(3));
    while (next <= head) {
      const last = Math.min(head, next + below(5));
      out.push(changes(SCHEMA, ...Array.from({ length: last - next + 1 }, (_, i) => next + i)));
      next = last + 1;
      if (below(3) === 0) {
        out.push(bookmark(at(last)));
      }
    }
    yield* out.slice(0, below(out.length + 1));
    if (below(2) === 0) {
      throw new ConnectError("broken", Code.Unavailable);
    }
  };
}

describe("a watch", () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])("loses and repeats nothing, whatever breaks (seed %i)", async (seed) => {
    const serve = erratic(chance(seed));
    let breaks = 0;
    let last: number | undefined; // the revision before the next change; undefined in a snapshot
    let wrong: string | undefined;
    const { error } = await collect(
      clientOf([publisher(serve), publisher(serve)]),
      (frame) => {
        if (frame.case === "reset") {
          last = undefined;
        } else if (frame.case === "snapshot" && frame.value.stream === SCHEMA) {
          last = Number(frame.value.revision);
        }
        for (const revision of revisionsOf(frame)) {
          wrong ??= revision === (last ?? NaN) + 1 ? undefined : `${revision} after ${last}`;
          last = revision;
        }
        return wrong !== undefined || (last ?? 0) >= 300;
      },
      { onBreak: () => breaks++ },
      fromSnapshot,
    );
    expect(error).toBeUndefined();
    expect(wrong).toBeUndefined();
    expect(breaks).toBeGreaterThan(0);
  });

  it("leaves a silent member, and not for a caller that is slow", async () => {
    const clock = new FakeClock();
    const asked: SubscribeRequest[] = [];
    const client = clientOf(
      [
        publisher(async function* (_, signal) {
          yield bookmark(at(5));
          yield changes(SCHEMA, 6);
          await gone(signal); // and nothing more
        }),
        publisher(async function* (request) {
          asked.push(request);
          yield changes(SCHEMA, 7);
        }),
      ],
      { clock },
    );
    const broken: MetadataError[] = [];
    const frames = client.watch({}, { onBreak: (error) => broken.push(error) });
    await frames.next();
    clock.advance(60_000); // the caller works on the first frame
    expect((await frames.next()).value).toMatchObject({ case: "changes" });
    expect(broken).toHaveLength(0);
    const next = frames.next();
    await new Promise(setImmediate);
    clock.advance(4_000);
    expect(broken).toHaveLength(0); // five bookmarks of a second each may be missing
    clock.advance(1_000);
    expect(revisionsOf((await next).value as Frame)).toEqual([7]);
    expect(broken.map(({ message }) => message)).toEqual(["no frame for 5000 ms"]);
    expect(asked[0]?.start.value).toMatchObject({ schemaRevision: 6n });
    await frames.return();
  });

  it("ends with its signal, with the client and with its loop, and so does the subscription", async () => {
    const ends: Promise<void>[] = [];
    const member = publisher(async function* (_, signal) {
      ends.push(gone(signal));
      yield bookmark(at(5));
      await gone(signal);
    });
    const client = clientOf([member]);
    const stop = new AbortController();
    const stopped = await collect(client, () => (setImmediate(() => stop.abort()), false), { signal: stop.signal });
    expect(isCanceled(stopped.error)).toBe(true);
    expect((await collect(client, () => true)).error).toBeUndefined();
    const closed = await collect(client, () => (setImmediate(() => client.close()), false));
    expect(closed.error).toMatchObject({ message: "the client is closed" });
    await Promise.all(ends);
    expect(ends).toHaveLength(3);
  });

  it("shows the resets of the service and, after a break in the snapshot, its own", async () => {
    let session = 0;
    const member = publisher(async function* (request) {
      switch (++session) {
        case 1:
          throw failure(Code.OutOfRange, "HISTORY_TRIMMED");
        case 2:
          expect(request.failOnGap).toBe(false);
          yield reset(0, "HISTORY_TRIMMED");
          yield snapshot(SCHEMA, 9);
          return; // before the topology
        default:
          expect(request.start.case).toBe("snapshot");
          yield snapshot(SCHEMA, 9);
          yield snapshot(TOPOLOGY, 1);
          yield bookmark(at(9, 1));
      }
    });
    const start = { start: { case: "after", value: at(3) } } as const;
    const { frames } = await collect(clientOf([member]), ({ case: kind }) => kind === "bookmark", {}, start);
    expect(frames.map(({ case: kind }) => kind)).toEqual([
      "reset",
      "snapshot",
      "reset",
      "snapshot",
      "snapshot",
      "bookmark",
    ]);
    expect(frames.flatMap((frame) => (frame.case === "reset" ? frame.value.reason : []))).toEqual([
      "HISTORY_TRIMMED",
      SNAPSHOT_INTERRUPTED,
    ]);
  });

  it("passes an endpoint of another cluster over, and ends if there is none but those", async () => {
    let asked = 0;
    let marked = 0;
    const own = publisher(async function* () {
      yield bookmark(at(5 + marked++));
    });
    const other = publisher(async function* () {
      asked++;
      throw failure(Code.FailedPrecondition, "FOREIGN_POSITION");
    }, "other");
    const { error: none } = await collect(clientOf([own, other]), () => marked >= 3);
    expect(none).toBeUndefined();
    expect(asked).toBe(1);
    const { error } = await collect(clientOf([other, other]), () => false, {}, { start: { case: "after", value: at(5) } });
    expect(error).toBeInstanceOf(ForeignClusterError);
    expect((error as Error).message).toContain("http://m1:9000 belongs to cluster other");
    expect(asked).toBe(3);
  });

  it("ends when the first endpoint is of another cluster than the calls were", async () => {
    let cluster = "c";
    const client = clientOf([
      {
        metadata: {
          getTable: () => ({ position: at(3, 0, 1, cluster) }),
          async *subscribe() {
            yield bookmark(at(4, 0, 1, cluster));
            yield changes(TOPOLOGY, 1);
          },
        },
      },
    ]);
    await client.metadata.getTable({});
    await collect(client, ({ case: kind }) => kind === "changes");
    expect(client.position).toEqual(at(4, 1)); // what a watch has shown, later reads show, too
    cluster = "other";
    const { frames, error } = await collect(client, () => false);
    expect(frames).toEqual([]);
    expect((error as Error).message).toContain("belongs to cluster other");
  });

  it("goes on with a reset after the cluster was restored", async () => {
    const restored = publisher(async function* (request) {
      if (request.failOnGap) {
        throw failure(Code.FailedPrecondition, "FOREIGN_POSITION");
      }
      yield reset(0, "FOREIGN_POSITION");
      yield snapshot(SCHEMA, 2);
      yield snapshot(TOPOLOGY, 0);
      yield bookmark(at(2, 0, 2));
    });
    const start = { start: { case: "after", value: at(5) } } as const;
    const { frames } = await collect(clientOf([restored]), ({ case: kind }) => kind === "bookmark", {}, start);
    expect(frames.map(({ case: kind }) => kind)).toEqual(["reset", "snapshot", "snapshot", "bookmark"]);
  });

  it("says what is wrong with a service that is too old, and with a caller that is refused", async () => {
    const old = await collect(clientOf([{}]), () => true);
    expect((old.error as Error).message).toMatch(
      /^http:\/\/m0:9000 does not know Subscribe \(.*\): it is older than this client/,
    );
    const refusing = publisher(async function* () {
      throw new ConnectError("token expired", Code.Unauthenticated);
    });
    const refused = await collect(clientOf([refusing, refusing]), () => true);
    expect(refused.error).toMatchObject({ code: Code.Unauthenticated });
    expect((refused.error as Error).message).toContain(
      "refused the caller of Subscribe: token expired; see that the token",
    );
  });

  it("goes on elsewhere while one endpoint is too old or its proxy fails", async () => {
    const failing = publisher(async function* () {
      throw new ConnectError("HTTP 500", Code.Unknown);
    });
    const sound = publisher(async function* () {
      yield bookmark(at(5));
    });
    const { frames, error } = await collect(clientOf([{}, failing, sound]), () => true);
    expect(error).toBeUndefined();
    expect(frames.map(({ case: kind }) => kind)).toEqual(["bookmark"]);
    // One that fails may be in order soon, so that nothing is final while it does.
    let broken = 0;
    const stop = new AbortController();
    const onBreak = () => ++broken === 20 && stop.abort();
    const waiting = await collect(clientOf([{}, failing]), () => true, { onBreak, signal: stop.signal });
    expect(isCanceled(waiting.error)).toBe(true);
  });

  it("ends with an answer that another attempt cannot change", async () => {
    const picky = publisher(async function* () {
      throw failure(Code.InvalidArgument, "INVALID_FIELD", "filter: too long");
    });
    const { error } = await collect(clientOf([picky]), () => true);
    expect(isInvalid(error) && error.message).toBe("filter: too long");
    const unencodable = await collect(clientOf([picky]), () => true, {}, { bookmarkIntervalMillis: -1 });
    expect(isInvalid(unencodable.error)).toBe(true);
  });

  it("rests longer and longer while sessions break at once, and less after a sound one", async () => {
    const clock = new FakeClock();
    const began: number[] = [];
    const member = publisher(async function* () {
      began.push(clock.now());
      if (began.length === 10) {
        clock.advance(1_000);
      }
      yield bookmark(at(5));
    });
    await collect(clientOf([member], { clock, random: () => 0.5 }), () => began.length === 12);
    const rests = began.map((time, i) => time - (began[i - 1] ?? 0)).slice(1);
    expect(rests.slice(0, 8)).toEqual([5, 10, 20, 40, 80, 160, 320, 500]);
    expect(rests[9]).toBe(1_005); // of which the session took 1,000
  });
});
