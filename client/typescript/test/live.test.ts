import { Code } from "@connectrpc/connect";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";

import {
  Client,
  Consistency,
  ErrorReason,
  isAlreadyExists,
  isCanceled,
  isInvalid,
  isNotFound,
  isOutcomeUnknown,
  isVersionMismatch,
  MetadataError,
  NodeType,
  Stream,
  TypeKind,
  type Change,
  type Frame,
  type Protocol,
} from "../src/index.js";
import { CuttingProxy } from "./proxy.js";
import { Server } from "./server.js";

const server = new Server();
beforeAll(() => server.start());
afterAll(() => server.remove());

const clients: Client[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) {
    client.close();
  }
});

function clientOf(protocol: Protocol, endpoint = server.url): Client {
  const client = new Client({ endpoints: [endpoint], protocol, actor: "vitest" });
  clients.push(client);
  return client;
}

/** A table that nobody else has made. */
let tables = 0;
function newTable() {
  const columns = [{ name: "id", dataType: { kind: TypeKind.INT64 } }];
  return { name: `t${++tables}`, columns, primaryKey: ["id"] };
}

async function errorOf(call: Promise<unknown>): Promise<MetadataError> {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MetadataError);
  return error as MetadataError;
}

/** Names of the tables that a frame created. */
function createdIn(frame: Frame): string[] {
  return frame.case === "changes" ? tablesOf(frame.value.changes) : [];
}

/** Names of the tables that changes created. */
function tablesOf(changes: readonly Change[]): string[] {
  const events = changes.flatMap((change) => change.events);
  return events.flatMap(({ kind }) => (kind.case === "tableCreated" ? (kind.value.table?.name ?? []) : []));
}

describe.each(["connect", "grpc-web"] as const)("over %s", (protocol) => {
  it("creates a table and reads it back, by all kinds of reads", async () => {
    const client = clientOf(protocol);
    const table = newTable();
    const created = await client.metadata.createTable({ table });
    for (const consistency of [Consistency.UNSPECIFIED, Consistency.AT_LEAST, Consistency.LINEARIZABLE]) {
      const read = await client.metadata.getTable({ table: { name: table.name }, read: { consistency } });
      expect(read.table).toEqual(created.table);
    }
    expect(client.position).toEqual(created.result?.position);
    const { tables: all } = await client.metadata.listTables({ namespace: "public", pageSize: 1000 });
    expect(all.map(({ name }) => name)).toContain(table.name);
  });

  it("has errors that say why", async () => {
    const client = clientOf(protocol);
    const table = newTable();
    await client.metadata.createTable({ table });
    expect(isAlreadyExists(await errorOf(client.metadata.createTable({ table })))).toBe(true);

    const missing = await errorOf(client.metadata.getTable({ table: { name: "missing" } }));
    expect(isNotFound(missing)).toBe(true);
    expect(missing.reason).toBe(ErrorReason.NOT_FOUND);
    expect(missing.message).toContain("missing");

    const bad = await errorOf(client.metadata.listTables({ pageSize: 5000 }));
    expect(isInvalid(bad)).toBe(true);
    expect(bad.fieldViolations.map(({ field }) => field)).toEqual(["page_size"]);

    const stale = client.metadata.dropTable({ table: { name: table.name }, expectedVersion: 9n });
    expect(isVersionMismatch(await errorOf(stale))).toBe(true);
  });

  it("writes once with one request id", async () => {
    const client = clientOf(protocol);
    const request = { table: newTable(), write: { requestId: `once-${protocol}` } };
    const first = await client.metadata.createTable(request);
    const second = await client.metadata.createTable(request);
    expect(second.table).toEqual(first.table);
    expect([first.result?.deduplicated, second.result?.deduplicated]).toEqual([false, true]);
  });

  it("calls the other services, too", async () => {
    const client = clientOf(protocol);
    await client.metadata.registerNode({
      node: { nodeId: `n-${protocol}`, nodeType: NodeType.STORAGE, addr: "127.0.0.1:6001" },
    });
    const { topology } = await client.metadata.getTopology({});
    expect(topology?.nodes.map(({ nodeId }) => nodeId)).toContain(`n-${protocol}`);
    expect((await client.cluster.status({})).members).toHaveLength(1);
    const { changes } = await client.history.readChanges({
      selection: { stream: Stream.TOPOLOGY },
      newestFirst: true,
      pageSize: 1,
    });
    expect(changes[0]?.actor).toContain("vitest");
    let newest = 0n;
    for await (const part of client.history.streamChanges({ selection: { stream: Stream.TOPOLOGY } })) {
      newest = part.newestRevision;
    }
    expect(newest).toBeGreaterThan(0n);
    await client.consumers.createConsumer({ consumer: { name: `c-${protocol}` } });
    expect((await client.consumers.listConsumers({})).consumers.map(({ consumer }) => consumer?.name)).toContain(
      `c-${protocol}`,
    );
  });

  it("makes many calls at the same time", async () => {
    const client = clientOf(protocol);
    const warnings: unknown[] = [];
    process.on("warning", (warning) => warnings.push(warning));
    await Promise.all(Array.from({ length: 100 }, () => client.metadata.createTable({ table: newTable() })));
    expect(warnings).toEqual([]);
  });

  it("watches over a restart of the server", async () => {
    const client = clientOf(protocol);
    const watched: string[] = [];
    const broken: MetadataError[] = [];
    const made: string[] = [];
    const make = async () => {
      const table = newTable();
      await client.metadata.createTable({ table });
      made.push(table.name);
    };
    let marked = 0;
    const watching = (async () => {
      for await (const frame of client.watch({}, { onBreak: (error) => broken.push(error) })) {
        marked += frame.case === "bookmark" ? 1 : 0;
        watched.push(...createdIn(frame));
        if (watched.length >= 4) {
          return;
        }
      }
    })();
    await vi.waitFor(() => expect(marked).toBeGreaterThan(0)); // where the watch begins
    await make();
    await make();
    await server.stop("SIGKILL");
    await server.start();
    await make();
    await make();
    await watching;
    expect(watched).toEqual(made);
    expect(broken.length).toBeGreaterThan(0);
  });

  it("watches through a proxy that cuts every connection", async () => {
    const proxy = new CuttingProxy(server.url, 400);
    const direct = clientOf(protocol);
    const watcher = clientOf(protocol, await proxy.start());
    try {
      const { result } = await direct.metadata.createTable({ table: newTable() });
      const after = result?.position;
      expect(after).toBeDefined();
      const made: string[] = [];
      const making = (async () => {
        for (let i = 0; i < 60; i++) {
          const table = newTable();
          await direct.metadata.createTable({ table });
          made.push(table.name);
          await delay(30);
        }
      })();
      const watched: string[] = [];
      const request = { ...(after && { start: { case: "after" as const, value: after } }) };
      for await (const frame of watcher.watch(request)) {
        watched.push(...createdIn(frame));
        if (watched.length >= 60) {
          break;
        }
      }
      await making;
      expect(watched).toEqual(made);
      expect(proxy.cuts).toBeGreaterThan(2);
    } finally {
      proxy.stop();
    }
  });

  it("follows changes through a proxy that cuts every connection, and reads what was, too", async () => {
    const proxy = new CuttingProxy(server.url, 300);
    const direct = clientOf(protocol);
    const reader = clientOf(protocol, await proxy.start());
    try {
      const made: string[] = [];
      const { result } = await direct.metadata.createTable({ table: newTable() });
      const from = (result?.position?.schemaRevision ?? 0n) + 1n;
      const making = (async () => {
        for (let i = 0; i < 40; i++) {
          const table = newTable();
          await direct.metadata.createTable({ table });
          made.push(table.name);
          await delay(30);
        }
      })();
      const followed: Change[] = [];
      const selection = { stream: Stream.SCHEMA, firstRevision: from };
      for await (const { changes } of reader.history.streamChanges({ selection, follow: true })) {
        followed.push(...changes);
        if (followed.length >= 40) {
          break;
        }
      }
      await making;
      expect(tablesOf(followed)).toEqual(made);
      expect(followed.map(({ revision }) => revision)).toEqual(made.map((_, i) => from + BigInt(i)));
      expect(proxy.cuts).toBeGreaterThan(2);

      const read: Change[] = [];
      for await (const { changes } of reader.history.streamChanges({ selection })) {
        read.push(...changes);
        await delay(400); // longer than a connection lasts
      }
      expect(tablesOf(read)).toEqual(made);
    } finally {
      proxy.stop();
    }
  });

  it("follows changes over a restart of the server", async () => {
    const client = clientOf(protocol);
    const { result } = await client.metadata.createTable({ table: newTable() });
    const firstRevision = (result?.position?.schemaRevision ?? 0n) + 1n;
    const selection = { stream: Stream.SCHEMA, firstRevision };
    const messages = client.history.streamChanges({ selection, follow: true })[Symbol.asyncIterator]();
    const followed: string[] = [];
    const made: string[] = [];
    const makeAndHear = async () => {
      const table = newTable();
      made.push(table.name);
      const making = client.metadata.createTable({ table });
      while (followed.length < made.length) {
        followed.push(...tablesOf((await messages.next()).value?.changes ?? []));
      }
      await making;
    };
    await makeAndHear();
    await server.stop("SIGKILL");
    await server.start();
    await makeAndHear();
    await makeAndHear();
    expect(followed).toEqual(made);
    await messages.return?.();
  });

  it("goes by no time of day", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      const client = clientOf(protocol);
      vi.setSystemTime(Date.now() - 86_400_000);
      await client.metadata.createTable({ table: newTable() });
      const frames = client.watch({ start: { case: "snapshot", value: true } });
      expect((await frames.next()).value).toMatchObject({ case: "snapshot" });
      vi.setSystemTime(Date.now() + 2 * 86_400_000);
      await client.metadata.createTable({ table: newTable() });
      expect((await frames.next()).done).toBe(false);
      await frames.return();
    } finally {
      vi.useRealTimers();
    }
  });

  it("ends a watch by its signal", async () => {
    const stop = new AbortController();
    const frames = clientOf(protocol).watch({}, { signal: stop.signal });
    await frames.next();
    setTimeout(() => stop.abort(), 20);
    expect(isCanceled(await errorOf(drain(frames)))).toBe(true);
  });

  it("says that nobody answers, and that nothing was sent", async () => {
    const closed = new CuttingProxy(server.url, 1000);
    const url = await closed.start();
    closed.stop();
    const error = await errorOf(
      clientOf(protocol, url).metadata.createTable({ table: newTable() }, { timeoutMs: 300 }),
    );
    expect(error.message).toMatch(/^http:\/\/127\.0\.0\.1:\d+ cannot be reached: .*ECONNREFUSED.*; see that it runs/);
    expect(isOutcomeUnknown(error)).toBe(false);
  });
});

it("says what an endpoint is that is no metadata service", async () => {
  const web = clientOf("connect", `${server.url}/elsewhere`);
  const error = await errorOf(web.metadata.getTable({ table: { name: "t" } }));
  expect(error.code).toBe(Code.Unimplemented);
  expect(error.message).toContain("no HeliosDB Metadata Service");
});

async function drain(frames: AsyncIterable<Frame>): Promise<void> {
  for await (const frame of frames) {
    void frame;
  }
}
