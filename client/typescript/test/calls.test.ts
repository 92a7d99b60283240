import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it, vi } from "vitest";

import {
  Client,
  Consistency,
  CreateTableRequestSchema,
  ErrorReason,
  isAlreadyExists,
  isCanceled,
  isInvalid,
  isNotFound,
  isOutcomeUnknown,
  isVersionMismatch,
  MetadataError,
  Role,
  Stream,
  type ReadOptions,
  type Retry,
  type WriteOptions,
} from "../src/index.js";
import { systemClock } from "../src/clock.js";
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

/** A member that answers creates in turn: by an error, or by a table. */
function creator(seen: WriteOptions[], ...answers: (Error | undefined)[]): Member {
  return {
    metadata: {
      createTable(request) {
        seen.push(request.write as WriteOptions);
        const answer = answers.length > 1 ? answers.shift() : answers[0];
        if (answer !== undefined) {
          throw answer;
        }
        return { table: { tableId: 1n }, result: { position: at(7) } };
      },
    },
  };
}

/** A member that answers reads at a position and notes what it was asked for. */
function reader(seen: ReadOptions[], ...positions: ReturnType<typeof at>[]): Member {
  return {
    metadata: {
      getTable(request) {
        seen.push(request.read as ReadOptions);
        const [position] = positions.length > 1 ? [positions.shift()] : positions;
        return { table: { tableId: 1n }, ...(position && { position }) };
      },
    },
  };
}

const noLeader = () => failure(Code.Unavailable, "NO_LEADER");

describe("a write", () => {
  it("keeps its request id over attempts and members", async () => {
    const seen: WriteOptions[] = [];
    const retries: Retry[] = [];
    const members = [creator(seen, noLeader()), creator(seen, noLeader()), creator(seen, noLeader(), undefined)];
    const client = clientOf(members, { onRetry: (retry) => retries.push(retry) });
    expect((await client.metadata.createTable({ table })).table?.tableId).toBe(1n);
    expect(seen.length).toBeGreaterThan(2);
    expect(new Set(seen.map(({ requestId }) => requestId)).size).toBe(1);
    expect(seen[0]?.requestId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(retries.length).toBe(seen.length - 1);
    expect(retries[0]).toMatchObject({ rpc: "CreateTable", endpoint: "http://m0:9000", attempt: 1 });
  });

  it("has the caller's request id, and leaves the caller's message as it was", async () => {
    const seen: WriteOptions[] = [];
    const client = clientOf([creator(seen, noLeader(), undefined)]);
    const request = create(CreateTableRequestSchema, { table, write: { requestId: "mine" } });
    await client.metadata.createTable(request);
    expect(seen.map(({ requestId }) => requestId)).toEqual(["mine", "mine"]);
    const own = create(CreateTableRequestSchema, { table });
    await client.metadata.createTable(own);
    expect(own.write).toBeUndefined();
  });

  it("says from the second attempt on how old its id is", async () => {
    const seen: WriteOptions[] = [];
    const clock = new FakeClock();
    const answers = [undefined, noLeader(), undefined, noLeader(), undefined];
    const client = clientOf([creator(seen, ...answers)], { clock });
    await client.metadata.createTable({ table }); // answered at revision 7
    await client.metadata.createTable({ table });
    clock.advance(31_000); // what was seen so long ago is worth nothing
    await client.metadata.createTable({ table });
    expect(seen.map(({ knownRevision }) => knownRevision)).toEqual([0n, 0n, 7n, 0n, 0n]);
  });

  it("is not made again after a refusal", async () => {
    const seen: WriteOptions[] = [];
    const client = clientOf([creator(seen, failure(Code.AlreadyExists, "ALREADY_EXISTS", 'table "t" exists'))]);
    const error = await errorOf(client.metadata.createTable({ table }));
    expect(seen).toHaveLength(1);
    expect(error.message).toBe('table "t" exists');
    expect(error.reason).toBe(ErrorReason.ALREADY_EXISTS);
    expect(error.values).toEqual({ limit: "some" });
    expect(isAlreadyExists(error)).toBe(true);
    expect(isNotFound(error) || isOutcomeUnknown(error) || isVersionMismatch(error)).toBe(false);
  });

  it("that was refused after an attempt nobody answered has an unknown outcome", async () => {
    const seen: WriteOptions[] = [];
    const broken = new ConnectError("cut", Code.Unavailable);
    const client = clientOf([creator(seen, broken, failure(Code.AlreadyExists, "ALREADY_EXISTS"))]);
    const error = await errorOf(client.metadata.createTable({ table }));
    expect(error.requestId).toBe(seen[0]?.requestId);
    expect(error.message).toContain(error.requestId);
    expect(isOutcomeUnknown(error) && isAlreadyExists(error)).toBe(true);
  });

  it("whose outcome is unknown says how old its id is, so that a late repeat is safe", async () => {
    const seen: WriteOptions[] = [];
    const answers = [undefined, failure(Code.Unavailable, "OUTCOME_UNKNOWN"), failure(Code.NotFound, "NOT_FOUND")];
    const client = clientOf([creator(seen, ...answers)]);
    await client.metadata.createTable({ table }); // answered at revision 7
    const error = await errorOf(client.metadata.createTable({ table }));
    expect(isOutcomeUnknown(error)).toBe(true);
    expect(error).toMatchObject({ requestId: seen[1]?.requestId, knownRevision: 7n });
    expect(error.message).toContain("and known revision 7");
    const again = { requestId: error.requestId as string, knownRevision: error.knownRevision };
    expect(await errorOf(client.metadata.createTable({ table, write: again }))).toMatchObject({ code: Code.NotFound });
    expect(seen.at(-1)).toMatchObject(again);
  });

  it("that only decides has no outcome to be unknown", async () => {
    const client = clientOf([creator([], new ConnectError("cut", Code.Unavailable))]);
    const error = await errorOf(client.metadata.createTable({ table, write: { dryRun: true } }));
    expect(isOutcomeUnknown(error)).toBe(false);
  });

  it("goes to the leader of its stream once that is known", async () => {
    const seen: WriteOptions[][] = [[], []];
    const cluster = {
      status: () => ({
        memberId: 1n,
        members: [
          {
            memberId: 1n,
            apiAddress: "m0:9000",
            streams: [{ stream: Stream.SCHEMA, role: Role.FOLLOWER, term: 3n, leader: 2n }],
          },
          {
            memberId: 2n,
            apiAddress: "m1:9000",
            streams: [{ stream: Stream.SCHEMA, role: Role.LEADER, term: 3n, leader: 2n }],
          },
        ],
      }),
    };
    const client = clientOf(seen.map((of) => ({ ...creator(of, undefined), cluster })));
    for (let i = 0; i < 50 && seen[1]?.length === 0; i++) {
      await client.metadata.createTable({ table }); // the first one begins the look-up
    }
    expect(seen[0]?.length).toBeGreaterThan(0);
    await client.metadata.createTable({ table });
    expect(seen[1]?.length).toBe(2);
  });
});

describe("a read", () => {
  it("is linearizable unless it says otherwise", async () => {
    const seen: ReadOptions[] = [];
    const client = clientOf([reader(seen, at(3))]);
    await client.metadata.getTable({ table });
    await client.metadata.getTable({ table, read: { consistency: Consistency.LOCAL } });
    expect(seen.map(({ consistency }) => consistency)).toEqual([Consistency.LINEARIZABLE, Consistency.LOCAL]);
  });

  it("that is AT_LEAST waits for the highest position seen", async () => {
    const seen: ReadOptions[] = [];
    const member = reader(seen, at(3, 9));
    const client = clientOf([{ metadata: { ...member.metadata, ...creator([], undefined).metadata } }], {
      consistency: Consistency.AT_LEAST,
    });
    await client.metadata.getTable({ table }); // nothing to compare with
    await client.metadata.createTable({ table }); // at 7:0
    await client.metadata.getTable({ table });
    await client.metadata.getTable({ table, read: { consistency: Consistency.AT_LEAST, atLeast: at(1) } });
    expect(seen.map(({ consistency }) => consistency)).toEqual([
      Consistency.LINEARIZABLE,
      Consistency.AT_LEAST,
      Consistency.AT_LEAST,
    ]);
    expect(seen.map(({ atLeast }) => atLeast)).toEqual([undefined, at(7, 9), at(1)]);
    expect(client.position).toEqual(at(7, 9));
  });

  it("forgets a position that the service has lost, after saying so once", async () => {
    const seen: ReadOptions[] = [];
    let lost = false;
    const client = clientOf(
      [
        {
          metadata: {
            getTable({ read }) {
              seen.push(read as ReadOptions);
              if (lost && read?.atLeast !== undefined) {
                throw failure(Code.OutOfRange, "FUTURE_REVISION", "revision 9 lies in the future");
              }
              return { position: at(lost ? 2 : 9) };
            },
          },
        },
      ],
      { consistency: Consistency.AT_LEAST },
    );
    await client.metadata.getTable({ table });
    lost = true;
    expect((await errorOf(client.metadata.getTable({ table }))).reason).toBe(ErrorReason.FUTURE_REVISION);
    await client.metadata.getTable({ table });
    expect(client.position).toEqual(at(2));
  });

  it("of another cluster is an error", async () => {
    const client = clientOf([reader([], at(3), at(4, 0, 1, "other"))]);
    await client.metadata.getTable({ table });
    const error = await errorOf(client.metadata.getTable({ table }));
    expect(error.reason).toBe(ErrorReason.FOREIGN_CLUSTER);
    expect(error.message).toContain("http://m0:9000 belongs to cluster other");
    expect(client.position).toEqual(at(3));
  });

  it("after a restore begins with a position of the new recovery epoch", async () => {
    const client = clientOf([reader([], at(9), at(2, 0, 2))]);
    await client.metadata.getTable({ table });
    await client.metadata.getTable({ table });
    expect(client.position).toEqual(at(2, 0, 2));
  });

  it("waits as long as the service asks", async () => {
    const retries: Retry[] = [];
    const answers = [failure(Code.ResourceExhausted, "LIMIT_REACHED", "busy", 400), undefined];
    const client = clientOf(
      [
        {
          metadata: {
            getTable: () => {
              const answer = answers.shift();
              if (answer !== undefined) {
                throw answer;
              }
              return {};
            },
          },
        },
      ],
      { onRetry: (retry) => retries.push(retry), random: () => 0 },
    );
    await client.metadata.getTable({ table });
    expect(retries.map(({ waitMs }) => waitMs)).toEqual([400]);
  });

  it("is not made again at a limit without a hint", async () => {
    let asked = 0;
    const client = clientOf([
      {
        metadata: {
          getTable: () => {
            asked++;
            throw failure(Code.ResourceExhausted, "LIMIT_REACHED");
          },
        },
      },
    ]);
    await errorOf(client.metadata.getTable({ table }));
    expect(asked).toBe(1);
  });

  it("leaves a silent member alone until it answers again", async () => {
    let asked = 0;
    let silent = true;
    const silence = (signal: AbortSignal) =>
      new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(new Error("gone"))));
    const first: Member = {
      metadata: { getTable: (_, { signal }) => (asked++, silent ? silence(signal) : {}) },
      cluster: { status: (_, { signal }) => (silent ? silence(signal) : {}) },
    };
    let fails = false;
    const second: Member = {
      metadata: {
        getTable() {
          fails = !fails;
          if (!fails) {
            throw noLeader();
          }
          return {};
        },
      },
    };
    const client = clientOf([first, second], { clock: systemClock });
    await client.metadata.getTable({ table }); // takes the time of an attempt at the first one, a second
    await client.metadata.getTable({ table }); // the second one fails, and is asked again
    expect(asked).toBe(1);
    silent = false;
    await vi.waitFor(
      async () => {
        await client.metadata.getTable({ table });
        expect(asked).toBeGreaterThan(1);
      },
      { timeout: 10_000 },
    );
    client.close();
  });
});

describe("the end of a call", () => {
  const never: Member = {
    metadata: { getTable: () => Promise.reject(noLeader()), createTable: () => Promise.reject(noLeader()) },
  };

  it("comes with its timeout, whatever the time of day is", async () => {
    const clock = new FakeClock();
    const client = clientOf([never, never], { clock });
    const began = clock.now();
    const error = await errorOf(client.metadata.getTable({ table }, { timeoutMs: 3_000 }));
    expect(error.reason).toBe(ErrorReason.NO_LEADER);
    expect(clock.now() - began).toBeGreaterThan(2_000);
    expect(clock.now() - began).toBeLessThanOrEqual(3_000);
  });

  it("comes with the caller's signal, and with that of the client", async () => {
    const stop = new AbortController();
    const client = clientOf([never], { onRetry: ({ attempt }) => attempt === 3 && stop.abort() });
    const error = await errorOf(client.metadata.getTable({ table }, { signal: stop.signal }));
    expect(isCanceled(error) && error.message).toContain("gave up");
    client.close();
    expect((await errorOf(client.metadata.createTable({ table }))).message).toBe("the client is closed");
  });

  it.each([0, -1, Number.NaN, 1e12])("refuses a timeout of %d", async (timeoutMs) => {
    const client = clientOf([never]);
    const error = await errorOf(client.metadata.getTable({ table }, { timeoutMs }));
    expect(isInvalid(error) && error.message).toContain("MAX_TIMEOUT_MS");
  });

  it("comes before anything is sent if the request cannot be encoded", async () => {
    const seen: WriteOptions[] = [];
    const client = clientOf([creator(seen, undefined)]);
    const error = await errorOf(client.metadata.createTable({ table: { tableId: -1n } }));
    expect(isInvalid(error) && error.message).toContain("CreateTable: the request cannot be encoded");
    expect(seen).toHaveLength(0);
  });
});

describe("the answers of a stream", () => {
  it("begin at another member if the first one cannot", async () => {
    const lacking: Member = {
      history: {
        async *verifyHistory() {
          throw failure(Code.Unavailable, "HISTORY_GAP");
        },
      },
    };
    const having: Member = {
      history: {
        async *verifyHistory() {
          yield { verifiedRevision: 1n };
          throw failure(Code.DataLoss, "DAMAGED", "revision 2 is damaged");
        },
      },
    };
    const client = clientOf([lacking, having]);
    const got: bigint[] = [];
    const read = async () => {
      for await (const { verifiedRevision } of client.history.verifyHistory({ stream: Stream.SCHEMA })) {
        got.push(verifiedRevision);
      }
    };
    const error = await errorOf(read());
    expect(got).toEqual([1n]);
    expect(error.reason).toBe(ErrorReason.DAMAGED);
  });
});

describe("options that make no sense", () => {
  it.each([
    [{ endpoints: [] }, "0 endpoints"],
    [{ endpoints: Array.from({ length: 65 }, () => "http://a:1") }, "MAX_ENDPOINTS"],
    [{ endpoints: ["127.0.0.1:9000"] }, "http(s)://HOST:PORT"],
    [{ endpoints: ["ftp://a:1"] }, "use http or https"],
    [{ endpoints: ["http://user@a:1"] }, "HOST:PORT"],
    [{ endpoints: ["http://a:1"], timeoutMs: 0 }, "timeoutMs is 0"],
    [{ endpoints: ["http://a:1"], protocol: "soap" as "connect" }, 'use "connect" or "grpc-web"'],
  ])("are refused: %j", (options, text) => {
    expect(() => new Client(options)).toThrow(text);
  });
});
