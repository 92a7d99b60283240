import { setTimeout as delay } from "node:timers/promises";

import { NodeType, TypeKind } from "@heliosdb/metadata";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Browser, live } from "./browser.js";
import { Freezes } from "./freezes.js";
import { Cluster, eventually } from "./members.js";

const TABLES = 100_000;
const NODES = 10_000;
const BATCH = 5_000;

/** So many tables are made at a time while the page is used, and so long is between. */
const STREAMED = 20;
const STREAMED_EVERY_MS = 50;

let cluster: Cluster;
let browser: Browser;

beforeAll(async () => {
  cluster = await Cluster.start();
  browser = await Browser.launch();
  browser.callable = cluster.members.map(({ url }) => url);
  for (let from = 0; from < TABLES; from += BATCH) {
    await createTables(from, BATCH, "t");
  }
  for (let from = 0; from < NODES; from += BATCH) {
    await cluster.client.metadata.applyBatch({ commands: Array.from({ length: BATCH }, (_, i) => registering(from + i)) });
  }
});

afterAll(async () => {
  await browser?.close();
  await cluster?.stop();
});

async function createTables(from: number, count: number, prefix: string): Promise<void> {
  const columns = [{ name: "id", dataType: { kind: TypeKind.INT64 } }];
  const names = Array.from({ length: count }, (_, i) => `${prefix}${String(from + i).padStart(6, "0")}`);
  const commands = names.map((name) => ({ command: { case: "createTable" as const, value: { table: { name, columns, primaryKey: ["id"] } } } }));
  await cluster.client.metadata.applyBatch({ commands });
}

function registering(i: number) {
  const node = { nodeId: `n${String(i).padStart(5, "0")}`, nodeType: NodeType.STORAGE, addr: `10.0.${i >> 8}.${i & 255}:7000`, labels: { rack: `r${i % 100}` } };
  return { command: { case: "registerNode" as const, value: { node } } };
}

/** Makes tables until the work is done; returns how many. */
async function whileTablesAreMade(work: () => Promise<void>): Promise<number> {
  let made = 0;
  let ended = false;
  const making = (async () => {
    for (; !ended; made += STREAMED) {
      await createTables(made, STREAMED, "s");
      await delay(STREAMED_EVERY_MS);
    }
  })();
  try {
    await work();
  } finally {
    ended = true;
    await making;
  }
  return made;
}

test("100,000 tables are read bit by bit, searched and scrolled without a freeze, also while others are made", async () => {
  const origin = cluster.members[0]?.url ?? "";
  const page = await browser.open(origin, "/schema/new");
  await live(page);
  const freezes = await Freezes.of(page);
  const tables = page.getByRole("region", { name: "Tables" });
  const rows = tables.getByRole("link");
  const toEnd = () => tables.evaluate((region) => region.scrollTo(0, region.scrollHeight));
  const search = async (text: string, found: RegExp) => {
    await page.getByLabel("Search tables").fill(text);
    await page.getByText(found).waitFor();
  };

  await page.getByRole("link", { name: "Schema", exact: true }).first().click();
  await page.getByRole("link", { name: "public.t000000" }).waitFor(); // long before all are there
  await page.getByText("100,000 tables in 1 namespace").waitFor();
  await freezes.expectNone("reading");

  await search("t09999", /^10 of 100,000 tables/);
  expect(await rows.count()).toBe(10);
  await search("", /^100,000 tables/);
  await toEnd();
  await page.getByRole("link", { name: "public.t099999" }).waitFor();
  expect(await rows.count()).toBeLessThan(100);
  await freezes.expectNone("searching and scrolling");

  const made = await whileTablesAreMade(async () => {
    for (let i = 0; i < 10; i++) {
      await search(`t09999${i}`, /^1 of 1\d\d,\d{3} tables/);
      await search("", /^1\d\d,\d{3} tables in/);
      await toEnd();
      await delay(100);
    }
  });
  expect(made).toBeGreaterThan(100);
  await page.getByText(`${(TABLES + made).toLocaleString("en")} tables in`).waitFor();
  await freezes.expectNone("searching and scrolling while tables are made");

  await cluster.command("table", "create", "public.zz_last", "--column", "id INT64");
  await eventually("the new table at the end", async () => {
    await toEnd();
    return (await page.getByRole("link", { name: "public.zz_last" }).count()) === 1;
  });
  expect(browser.offences).toEqual([]);
  await page.close();
});

test("10,000 nodes are searched, and shown as far as somebody looks", async () => {
  const origin = cluster.members[0]?.url ?? "";
  const page = await browser.open(origin, "/schema/new");
  await live(page);
  const freezes = await Freezes.of(page);
  await page.getByRole("link", { name: "Topology" }).click();
  const nodes = page.getByRole("region", { name: "Nodes", exact: true });
  await page.getByText("10,000 nodes, 0 shards").waitFor();
  await nodes.getByText("100 of 10,000 nodes").waitFor();
  expect(await nodes.getByRole("link").count()).toBe(100);
  await freezes.expectNone("reading");
  await nodes.getByRole("button", { name: "Show more" }).click();
  await nodes.getByRole("link", { name: "n00199" }).waitFor();
  expect(await nodes.getByRole("link").count()).toBe(200);
  await nodes.getByLabel("Search nodes").fill("rack=r99");
  await nodes.getByText("100 of 100 nodes").waitFor({ state: "detached" });
  await nodes.getByRole("link", { name: "n09999" }).waitFor();
  expect(await nodes.getByRole("link").count()).toBe(100);
  await nodes.getByLabel("Search nodes").fill("nobody");
  await nodes.getByText("No node matches.").waitFor();
  await freezes.expectNone("searching");

  // These tests would see one, on a slow machine too, even if it gets slower.
  await page.evaluate((millis) => {
    for (const until = performance.now() + millis; performance.now() < until; );
  }, 4 * freezes.limit);
  await expect(freezes.expectNone("held up")).rejects.toThrow("longest pause while held up");
  expect(browser.offences).toEqual([]);
  await page.close();
});
