import { TypeKind } from "@heliosdb/metadata";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Browser, live } from "./browser.js";
import { Cluster, eventually } from "./members.js";

const TABLES = 100_000;
const BATCH = 5_000;

/** The longest that anything may hold the page up, on a busy machine; a page that froze would take many seconds. */
const LONGEST_TASK_MS = 1_500;
const SEARCH_MS = 3_000;

let cluster: Cluster;
let browser: Browser;

beforeAll(async () => {
  cluster = await Cluster.start();
  browser = await Browser.launch();
  browser.callable = cluster.members.map(({ url }) => url);
  for (let from = 0; from < TABLES; from += BATCH) {
    await cluster.client.metadata.applyBatch({ commands: Array.from({ length: BATCH }, (_, i) => creating(from + i)) });
  }
});

afterAll(async () => {
  await browser?.close();
  await cluster?.stop();
});

function creating(i: number) {
  const columns = [{ name: "id", dataType: { kind: TypeKind.INT64 } }];
  return { command: { case: "createTable" as const, value: { table: { name: `t${String(i).padStart(6, "0")}`, columns, primaryKey: ["id"] } } } };
}

test("100,000 tables are read bit by bit, searched and scrolled without a freeze", async () => {
  const origin = cluster.members[0]?.url ?? "";
  const page = await browser.open(origin, "/");
  await live(page);
  await page.evaluate(() => {
    const seen = { longest: 0 };
    new PerformanceObserver((list) => {
      seen.longest = Math.max(seen.longest, ...list.getEntries().map(({ duration }) => duration));
    }).observe({ entryTypes: ["longtask"] });
    Object.assign(globalThis, { seen });
  });
  await page.getByRole("link", { name: "Schema", exact: true }).click();
  await page.getByRole("link", { name: "public.t000000" }).waitFor(); // long before all are there
  await page.getByText("100,000 tables in 1 namespace").waitFor();

  const rows = page.getByRole("region", { name: "Tables" }).getByRole("link");
  const began = performance.now();
  await page.getByLabel("Search tables").fill("t09999");
  await page.getByText("10 of 100,000 tables").waitFor();
  expect(await rows.count()).toBe(10);
  expect(performance.now() - began).toBeLessThan(SEARCH_MS);

  await page.getByLabel("Search tables").fill("");
  await page.getByRole("region", { name: "Tables" }).evaluate((region) => region.scrollTo(0, region.scrollHeight));
  await page.getByRole("link", { name: "public.t099999" }).waitFor();
  expect(await rows.count()).toBeLessThan(100);

  await cluster.command("table", "create", "public.zz_last", "--column", "id INT64");
  await page.getByText("100,001 tables").waitFor();
  await eventually("the new table at the end", async () => {
    await page.getByRole("region", { name: "Tables" }).evaluate((region) => region.scrollTo(0, region.scrollHeight));
    return (await page.getByRole("link", { name: "public.zz_last" }).count()) === 1;
  });

  const longest = await page.evaluate(() => (globalThis as unknown as { seen: { longest: number } }).seen.longest);
  expect(longest).toBeLessThan(LONGEST_TASK_MS);
  expect(browser.offences).toEqual([]);
});
