import { mkdirSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { Stream, TypeKind } from "@heliosdb/metadata";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, test } from "vitest";

import { Browser, DESKTOP, live, PHONE } from "./browser.js";
import { Cluster } from "./members.js";

/** Those of the README are taken into docs, all others where nothing is kept. */
const documented = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const scratch = fileURLToPath(new URL("../../.tmp/screenshots/", import.meta.url));

/** For so long there is something to see before the overview is taken. */
const LIVELY_MS = 90_000;

let cluster: Cluster;
let browser: Browser;
let lively = true;

beforeAll(async () => {
  mkdirSync(scratch, { recursive: true });
  cluster = await Cluster.start();
  browser = await Browser.launch();
  await cluster.command("apply", "-f", "../examples/tpch.yaml", "-f", "../examples/topology.yaml", "--actor", "ada");
  for (const name of ["audit", "search-index"]) {
    await cluster.client.consumers.createConsumer({ consumer: { name } });
  }
});

afterAll(async () => {
  lively = false;
  await browser?.close();
  await cluster?.stop();
});

const pages = {
  overview: "/",
  schema: "/schema",
  table: "/schema/tables/2",
  "create-table": "/schema/new",
  topology: "/topology",
  node: "/topology/nodes/storage-1",
  shard: "/topology/shards/3",
  register: "/topology/register",
  changes: "/changes",
  change: "/changes/schema/1",
} as const;

/** Nodes beat with a load that goes up and down, and somebody changes tables. */
async function beLively(): Promise<void> {
  const { topology } = await cluster.client.metadata.getTopology({});
  const columns = [{ name: "id", dataType: { kind: TypeKind.INT64 } }];
  for (let i = 0; lively; i++) {
    await cluster.client.metadata.createTable({ table: { name: `staging_${i}`, columns, primaryKey: ["id"] } });
    await Promise.all(
      (topology?.nodes ?? []).map(({ nodeId, epoch, nodeType }, n) =>
        cluster.client.metadata.heartbeat({ nodeId, epoch, load: loadOf(nodeType, i / 40 + n) }),
      ),
    );
    await delay(150 + 600 * Math.abs(Math.sin(i / 25)));
  }
}

function loadOf(type: number, phase: number) {
  const part = 0.4 + 0.3 * Math.sin(phase);
  const bytes = (gibibytes: number) => BigInt(Math.round(gibibytes * 2 ** 30));
  return {
    cpuMillis: BigInt(Math.round(16_000 * part)),
    memoryBytes: bytes(64 * (0.3 + part / 2)),
    diskBytes: type === 2 ? bytes(1_500 + 200 * part) : 0n,
    requestsPerSecond: 1_200 * part,
  };
}

async function take(page: Page, directory: string, name: string, fullPage: boolean): Promise<void> {
  await page.screenshot({ path: `${directory}${name}.png`, fullPage, animations: "disabled" });
}

test("pictures of all pages", async () => {
  const origin = (await cluster.leader(Stream.SCHEMA)).url; // where there are most calls to be seen
  const ending = beLively();
  const overview = await browser.open(origin, "/");
  await delay(LIVELY_MS);
  await take(overview, documented, "console-overview", false);
  const topology = await browser.open(origin, "/topology");
  await topology.getByText("%").first().waitFor();
  await topology.emulateMedia({ colorScheme: "dark" });
  await take(topology, documented, "console-topology", false);
  const table = await browser.open(origin, "/schema/tables/2", PHONE);
  await table.getByText("n_nationkey").first().waitFor();
  await take(table, documented, "console-phone", false);

  for (const [name, path] of Object.entries(pages)) {
    for (const [kind, viewport] of Object.entries({ desk: DESKTOP, phone: PHONE })) {
      const page = await browser.open(origin, path, viewport);
      await live(page);
      await delay(2_500);
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        await take(page, scratch, `${name}-${kind}-${colorScheme}`, kind === "phone");
      }
      await page.close();
    }
  }
  lively = false;
  await ending;
}, 600_000);
