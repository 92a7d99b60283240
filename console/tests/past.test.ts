import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Client, Stream, TypeKind } from "@heliosdb/metadata";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { Browser, live } from "./browser.js";
import { loneMember, type Member } from "./members.js";
import { Proxy } from "./proxy.js";

const directory = mkdtempSync(join(tmpdir(), "heliosmeta-past-"));
const columns = [{ name: "id", dataType: { kind: TypeKind.INT64 } }];
let member: Member;
let client: Client;
let browser: Browser;

beforeAll(async () => {
  member = await loneMember(directory);
  member.start();
  await member.ready();
  client = new Client({ endpoints: [member.url], timeoutMs: 30_000 });
  browser = await Browser.launch();
});

afterAll(async () => {
  await browser?.close();
  client?.close();
  await member?.kill();
  rmSync(directory, { recursive: true, force: true });
});

afterEach(async () => {
  await browser.leave();
  expect(browser.offences.splice(0)).toEqual([]);
});

async function createTable(name: string): Promise<bigint> {
  return (await client.metadata.createTable({ table: { name, columns } })).table?.tableId ?? 0n;
}

async function newest(): Promise<bigint> {
  return (await client.history.getHead({ stream: Stream.SCHEMA })).revision;
}

test("an object's older changes are read once, however often the button is pressed", async () => {
  const tableId = await createTable("busy");
  for (let i = 0; i < 50; i++) {
    await client.metadata.alterTable({ table: { tableId }, alterations: [{ action: { case: "setComment", value: { comment: `c${i}` } } }] });
  }
  const proxy = new Proxy(member.url);
  const page = await browser.open(await proxy.listen(), `/schema/tables/${tableId}`);
  const lines = page.locator("ol li a");
  await page.getByRole("button", { name: "Show older changes" }).waitFor();
  expect(await lines.count()).toBe(20);
  proxy.hold = { part: "/ObjectLog", millis: 500 };
  await page.getByRole("button", { name: "Show older changes" }).dblclick();
  await expect.poll(() => lines.count()).toBe(40);

  // What was asked for before the first page moved is no continuation of it.
  proxy.hold = { part: "/ObjectLog", millis: 2_000 };
  await page.getByRole("button", { name: "Show older changes" }).click();
  await client.metadata.alterTable({ table: { tableId }, alterations: [{ action: { case: "setComment", value: { comment: "last" } } }] });
  await page.getByText("last", { exact: true }).first().waitFor();
  await page.getByRole("button", { name: "Show older changes" }).click();
  await page.getByRole("button", { name: "Show older changes" }).click();
  await expect.poll(() => lines.count()).toBe(52);
  const texts = await lines.allInnerTexts();
  expect(new Set(texts).size).toBe(52);
  await page.close();
  await proxy.close();
});

test("the page of a change that is still to come shows it, and what came later", async () => {
  const next = (await newest()) + 1n;
  const page = await browser.open(member.url, `/changes/schema/${next}`);
  await page.getByText(`Revision ${next} of the schema stream is not here yet`).waitFor();
  await createTable("awaited");
  await page.getByText('"tableCreated"').waitFor();
  await page.getByText("Difference to before").waitFor();
  await page.getByText("columns[id]").first().waitFor();
  expect(await page.getByRole("link", { name: "Later" }).count()).toBe(0);
  await createTable("later");
  await page.getByRole("link", { name: "Later" }).waitFor();
  await page.close();
});

// 404 is an answer that no further attempt changes, so that these do not wait for one.
test("the page of a change recovers by itself", async () => {
  const proxy = new Proxy(member.url);
  proxy.refuse = { part: "/ReadChanges", status: 404 };
  const page = await browser.open(await proxy.listen(), "/changes/schema/1");
  await page.getByRole("alert").first().waitFor();
  proxy.refuse = { part: "/DiffRevisions", status: 404 };
  await page.getByText('"tableCreated"').waitFor();
  await page.getByRole("button", { name: "Try again" }).waitFor();
  proxy.refuse = undefined;
  await page.getByText("columns[id]").first().waitFor();
  await page.close();
  await proxy.close();
});

test("a paused list shows what is older, and nothing that is newer", async () => {
  await client.metadata.registerNode({ node: { nodeId: "n1", addr: "127.0.0.1:1", nodeType: 1 } });
  for (let i = 0; i < 160; i++) {
    await createTable(`many${i}`);
  }
  const all = (await newest()) + (await client.history.getHead({ stream: Stream.TOPOLOGY })).revision;
  const page = await browser.open(member.url, "/changes");
  const lines = page.locator(".list a");
  await live(page);
  await expect.poll(() => lines.count()).toBe(100);
  await page.getByRole("button", { name: "Pause" }).click();
  await createTable("unseen");
  await page.getByText("1 new change").waitFor();
  for (const more = page.getByRole("button", { name: "Show older changes" }); (await more.count()) > 0; ) {
    await more.click().catch(() => undefined); // it may be gone by now
    await page.waitForTimeout(100);
  }
  await expect.poll(() => lines.count()).toBe(Number(all));
  expect(await page.getByRole("link", { name: /unseen/ }).count()).toBe(0);
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("link", { name: /unseen/ }).waitFor();
  await page.close();
});

test("the filter finds every event of a large change, and says what it did not search", async () => {
  const creating = (names: string[]) => ({
    commands: names.map((name) => ({ command: { case: "createTable" as const, value: { table: { name, columns } } } })),
  });
  await client.metadata.applyBatch(creating(Array.from({ length: 60 }, (_, i) => `bulk${i}`)));
  const page = await browser.open(member.url, "/changes");
  await live(page);
  await page.getByLabel("Filter").fill("bulk59");
  await page.getByRole("link", { name: /bulk0/ }).waitFor();
  expect(await page.getByText(/MAX_SEARCHED/).count()).toBe(0);
  await client.metadata.applyBatch(creating(Array.from({ length: 200 }, (_, i) => `${"x".repeat(100)}${i}`)));
  await page.getByText("1 change with very many events was searched only up to 16,384 characters (MAX_SEARCHED)").waitFor();
  await page.close();
});

test("a stream that cannot be read at first is read later", async () => {
  const proxy = new Proxy(member.url);
  proxy.refuse = { part: "/ReadChanges", status: 404 };
  const page = await browser.open(await proxy.listen(), "/");
  const last = page.locator("section", { hasText: "Last changes" });
  await last.getByRole("alert").waitFor();
  proxy.refuse = undefined;
  await last.getByRole("link", { name: /table created/ }).first().waitFor();
  await last.getByRole("alert").waitFor({ state: "detached" });
  await page.close();
  await proxy.close();
});
