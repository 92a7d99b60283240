import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it, vi } from "vitest";

import { ForeignClusterError, MetadataError, Stream } from "../src/index.js";
import { at, clientOf, failure, FakeClock, type Member } from "./fake.js";

const table = { name: "t" };

/** What a call ends with. */
async function errorOf(call: Promise<unknown>): Promise<MetadataError> {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MetadataError);
  return error as MetadataError;
}

describe("a write", () => {
  it("that takes effect in another cluster says so, and the next one goes elsewhere", async () => {
    const answers = [undefined, failure(Code.Unavailable, "NO_LEADER"), undefined];
    let carriedOut = 0;
    let strayed = 0;
    const own: Member = {
      metadata: {
        createTable() {
          const answer = answers.shift();
          if (answer !== undefined) {
            throw answer;
          }
          carriedOut++;
          return { result: { position: at(7) } };
        },
      },
    };
    const other: Member = {
      metadata: {
        createTable() {
          strayed++;
          return { result: { position: at(1, 0, 1, "other") } };
        },
      },
    };
    const client = clientOf([own, other]);
    await client.metadata.createTable({ table });
    const error = await errorOf(client.metadata.createTable({ table }));
    expect(error).toBeInstanceOf(ForeignClusterError);
    expect(error).toMatchObject({ endpoint: "http://m1:9000", clusterId: "other", written: true });
    expect(error.message).toContain("the write took effect in the other cluster");
    await client.metadata.createTable({ table });
    expect([carriedOut, strayed]).toEqual([2, 1]);
  });
});

describe("a read", () => {
  it("at an endpoint of another cluster is made at another one", async () => {
    const other: Member = { metadata: { getTable: () => ({ position: at(4, 0, 1, "other") }) } };
    const own: Member = {
      metadata: { getTable: () => ({ position: at(5) }), createTable: () => ({ result: { position: at(3) } }) },
    };
    const client = clientOf([other, own]);
    await client.metadata.createTable({ table }); // the first one does not know it
    await client.metadata.getTable({ table });
    expect(client.position).toEqual(at(5));
  });

  it("outlasts an endpoint of another cluster, however often that one answers", async () => {
    const answers = [undefined, failure(Code.Unavailable, "NO_LEADER"), failure(Code.Unavailable, "NO_LEADER"), undefined];
    let strayed = 0;
    const own: Member = {
      metadata: {
        getTable() {
          const answer = answers.shift();
          if (answer !== undefined) {
            throw answer;
          }
          return { position: at(5) };
        },
      },
    };
    const other: Member = {
      metadata: {
        getTable() {
          strayed++;
          return { position: at(4, 0, 1, "other") };
        },
      },
    };
    const client = clientOf([own, other]);
    await client.metadata.getTable({ table });
    await client.metadata.getTable({ table });
    expect(answers).toHaveLength(0);
    expect(strayed).toBeGreaterThan(0);
  });

  it.each([
    ["is older", new ConnectError("HTTP 404", Code.Unimplemented)],
    ["refuses the caller", new ConnectError("HTTP 401", Code.Unauthenticated)],
    ["stands behind a proxy that fails", new ConnectError("HTTP 500", Code.Unknown)],
  ])("is made at the next endpoint if one %s, and fails if all do", async (_, refusal) => {
    let asked = 0;
    const sound: Member = { metadata: { getTable: () => ({ position: at(3) }) } };
    const refusing: Member = {
      metadata: {
        getTable() {
          asked++;
          throw refusal;
        },
      },
    };
    await clientOf([refusing, refusing, sound]).metadata.getTable({ table });
    expect(asked).toBe(2);
    const error = await errorOf(clientOf([refusing, refusing]).metadata.getTable({ table }));
    expect(error.code).toBe(refusal.code);
  });
});

describe("a stream", () => {
  it("is opened at the next member if one says nothing, and has no deadline once it has begun", async () => {
    const clock = new FakeClock();
    const ends: unknown[] = [];
    const silent: Member = {
      history: {
        async *verifyHistory(_, { signal }) {
          await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
          ends.push(signal.reason);
        },
      },
    };
    let tell: () => void = () => undefined;
    const slow: Member = {
      history: {
        async *verifyHistory() {
          yield { verifiedRevision: 1n };
          await new Promise<void>((resolve) => (tell = resolve));
          yield { verifiedRevision: 2n, done: true };
        },
      },
    };
    const client = clientOf([silent, slow], { clock });
    const got: bigint[] = [];
    const reading = (async () => {
      for await (const { verifiedRevision } of client.history.verifyHistory({ stream: Stream.SCHEMA })) {
        got.push(verifiedRevision);
      }
    })();
    await new Promise(setImmediate);
    clock.advance(2_000);
    await vi.waitFor(() => expect(got).toEqual([1n]));
    expect(ends).toHaveLength(1);
    clock.advance(60_000);
    tell();
    await reading;
    expect(got).toEqual([1n, 2n]);
  });

  it("fails in time if no member says anything", async () => {
    const silent: Member = {
      history: {
        async *verifyHistory(_, { signal }) {
          await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        },
      },
    };
    const clock = new FakeClock();
    const client = clientOf([silent], { clock });
    const next = client.history.verifyHistory({ stream: Stream.SCHEMA })[Symbol.asyncIterator]().next();
    const ended = errorOf(next);
    for (let i = 0; i < 5; i++) {
      await new Promise(setImmediate);
      clock.advance(8_000);
    }
    expect((await ended).message).toMatch(/^no answer for \d+ ms/);
  });
});
