import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

import {
  Client,
  ForeignClusterError,
  isAlreadyExists,
  isOutcomeUnknown,
  Stream,
  TypeKind,
  type ClientOptions,
  type MetadataError,
  type Retry,
} from "../src/index.js";
import { Server } from "./server.js";

const own = new Server();
const other = new Server("--cluster-name", "other");
let ownId: string;
let otherId: string;

const clients: Client[] = [];

function clientOf(endpoints: string[], options: Partial<ClientOptions> = {}): Client {
  const client = new Client({ endpoints, timeoutMs: 5_000, ...options });
  clients.push(client);
  return client;
}

async function idOf(server: Server): Promise<string> {
  return (await clientOf([server.url]).cluster.status({})).clusterId;
}

beforeAll(async () => {
  await Promise.all([own.start(), other.start()]);
  [ownId, otherId] = await Promise.all([idOf(own), idOf(other)]);
});
afterEach(() => clients.splice(0).forEach((client) => client.close()));
afterAll(() => Promise.all([own.remove(), other.remove()]));

function creating(name: string) {
  return { table: { name, columns: [{ name: "id", dataType: { kind: TypeKind.INT64 } }], primaryKey: ["id"] } };
}

async function tablesOf(server: Server): Promise<string[]> {
  const { tables } = await clientOf([server.url]).metadata.listTables({});
  return tables.map(({ name }) => name);
}

async function refusalOf(call: Promise<unknown>): Promise<ForeignClusterError> {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ForeignClusterError);
  return error as ForeignClusterError;
}

describe.each(["connect", "grpc-web"] as const)("at a server of another cluster, over %s", (protocol) => {
  it("a client that names its cluster does nothing, whatever it calls, and says so", async () => {
    const client = clientOf([other.url], { clusterId: ownId.toUpperCase(), protocol });
    const refusals = await Promise.all([
      refusalOf(client.metadata.createTable(creating("astray"))),
      refusalOf(client.metadata.listTables({})),
      refusalOf(client.watch().next()),
      refusalOf(drain(client.history.streamChanges({ selection: { stream: Stream.SCHEMA } }))),
      refusalOf(drain(client.history.verifyHistory({ stream: Stream.SCHEMA }))),
    ]);
    for (const refusal of refusals) {
      expect(refusal).toMatchObject({ endpoint: other.url, clusterId: otherId, written: false });
      expect(refusal.message).toBe(
        `${other.url}: this member is of cluster ${otherId}, and the call is for cluster "${ownId}": name endpoints of that one; nothing was done`,
      );
    }
    expect(await tablesOf(other)).toEqual([]);
  });

  it("calls go on at a member of the one that is meant", async () => {
    const client = clientOf([other.url, own.url], { clusterId: ownId, protocol });
    const name = `meant_${protocol.replace("-", "_")}`;
    await client.metadata.createTable(creating(name));
    const again = await client.metadata.createTable(creating(name)).catch((error: unknown) => error);
    expect(isAlreadyExists(again)).toBe(true);
    expect(await tablesOf(own)).toContain(name);
    expect(await tablesOf(other)).toEqual([]);

    const fresh = () => clientOf([other.url, own.url], { clusterId: ownId, protocol });
    expect((await fresh().watch().next()).value).toMatchObject({ value: { position: { clusterId: ownId } } });
    const changes = await drain(fresh().history.streamChanges({ selection: { stream: Stream.SCHEMA } }));
    expect(changes.length).toBeGreaterThan(0);
  });
});

it("a client that has seen its cluster writes in no other, not even the first time", async () => {
  const refused: MetadataError[] = [];
  const onRetry = ({ error }: Retry) => refused.push(error);
  const client = clientOf([own.url, other.url], { timeoutMs: 1_500, onRetry });
  await client.metadata.createTable(creating("seen"));
  await own.stop();
  try {
    const error: unknown = await client.metadata.createTable(creating("strayed")).catch((thrown: unknown) => thrown);
    expect((error as Error).message).toMatch(new RegExp(`^${own.url} cannot be reached: `));
    expect(isOutcomeUnknown(error)).toBe(false);
    expect(refused.filter((its) => its instanceof ForeignClusterError)).toMatchObject([{ endpoint: other.url, written: false }]);
    expect(await tablesOf(other)).toEqual([]);
  } finally {
    await own.start();
  }
  await client.metadata.createTable(creating("later"));
  expect(await tablesOf(own)).toEqual(expect.arrayContaining(["seen", "later"]));
});

it("an id that is none is refused", () => {
  expect(() => clientOf([own.url], { clusterId: "mine" })).toThrow(
    new TypeError('clusterId is "mine"; it has to be 32 hexadecimal digits'),
  );
});

async function drain<M>(messages: AsyncIterable<M>): Promise<M[]> {
  const all: M[] = [];
  for await (const message of messages) {
    all.push(message);
  }
  return all;
}
