import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { Client, TypeKind } from "../src/index.js";
import { Server } from "./server.js";

const server = new Server();
beforeAll(() => server.start());
afterAll(() => server.remove());

describe.each(["connect", "grpc-web"] as const)("over %s", (protocol) => {
  it("creates a table and reads it back", async () => {
    const client = new Client({ endpoints: [server.url], protocol });
    const name = `created_${protocol.replace("-", "_")}`;
    const created = await client.metadata.createTable({
      table: {
        name,
        columns: [{ name: "id", dataType: { kind: TypeKind.INT64 } }],
        primaryKey: ["id"],
      },
    });
    const read = await client.metadata.getTable({ table: { name } });
    expect(read.table?.tableId).toBe(created.table?.tableId);
    expect(read.table?.columns.map((column) => column.name)).toEqual(["id"]);
  });
});
