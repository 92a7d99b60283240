import { ToastStrategy, TypeKind } from "@heliosdb/metadata";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { Browser, live } from "./browser.js";
import { Cluster } from "./members.js";
import { Proxy } from "./proxy.js";

let cluster: Cluster;
let browser: Browser;
let origin: string;

beforeAll(async () => {
  cluster = await Cluster.start();
  browser = await Browser.launch();
  browser.callable = cluster.members.map(({ url }) => url);
  origin = cluster.members[0]?.url ?? "";
  await cluster.command("apply", "-f", "../examples/topology.yaml");
});

afterAll(async () => {
  await browser?.close();
  await cluster?.stop();
});

afterEach(async () => {
  await browser.leave();
  expect(browser.offences.splice(0)).toEqual([]);
});

/** The schema's revision, as the service says. */
async function revision(): Promise<bigint> {
  return (await cluster.client.metadata.listNamespaces({})).position?.schemaRevision ?? 0n;
}

/** What is said to be wrong with the field of a label. */
async function wrong(page: Page, label: string, place = 0): Promise<string> {
  const field = page.getByLabel(label, { exact: true }).nth(place);
  await expect.poll(() => field.getAttribute("aria-invalid")).toBe("true");
  return page.locator(`[id="${await field.getAttribute("aria-describedby")}"]`).innerText();
}

test("a table is previewed, created under one's name, and dropped", async () => {
  const page = await browser.open(origin, "/schema/new");
  await live(page);
  await page.getByRole("button", { name: "Identity" }).click();
  await page.getByRole("dialog").getByLabel("Name").fill("grace hopper");
  await page.getByRole("button", { name: "Save" }).click();

  const before = await revision();
  await page.getByLabel("Name", { exact: true }).first().fill("users");
  await page.getByRole("button", { name: "Add a column" }).click();
  const second = page.getByRole("group", { name: "Column 2" });
  await second.getByLabel("Name").fill("balance");
  await second.getByLabel("Type").fill("DECIMAL(18, 2)");
  await page.getByRole("button", { name: "Preview" }).click();
  await page.getByText("The service would accept this: 1 event.").waitFor();
  expect(await revision()).toBe(before);

  await page.getByRole("button", { name: "Create the table" }).click();
  await page.getByRole("heading", { level: 1, name: "public.users" }).waitFor();
  const { table } = await cluster.client.metadata.getTable({ table: { name: "users" } });
  expect(table?.columns[1]?.dataType).toMatchObject({ kind: TypeKind.DECIMAL, precision: 18, scale: 2 });
  expect(table?.primaryKey).toEqual(["id"]);
  await page.getByText("by grace hopper").waitFor();

  await page.getByRole("button", { name: "Drop the table" }).click();
  await page.getByRole("button", { name: "Drop", exact: true }).click();
  await page.getByText("Write public.users first").waitFor();
  await page.getByLabel("Write its full name").fill("public.users");
  await page.getByRole("button", { name: "Drop", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: /does not exist/ }).waitFor();
  await page.getByText("table dropped").waitFor();
  await page.close();
});

test("what the service finds wrong is said at the field", async () => {
  const page = await browser.open(origin, "/schema/new");
  await page.getByLabel("Name", { exact: true }).first().fill("1st");
  await page.getByRole("button", { name: "Preview" }).click();
  expect(await wrong(page, "Name")).toMatch(/1st/);
  await page.close();
});

test("a table of nested types, with a TOAST strategy, is written by keyboard", async () => {
  const page = await browser.open(origin, "/schema/new");
  await live(page);
  await page.getByLabel("Name", { exact: true }).first().fill("nested");
  await page.getByLabel("Properties").fill("owner=ada");
  await page.getByRole("button", { name: "Add a column" }).click();
  const column = page.getByRole("group", { name: "Column 2" });
  await column.getByLabel("Name").focus();
  await page.keyboard.type("events");
  await page.keyboard.press("Tab");
  await page.keyboard.type("map<string, list<struct<a decimal(77, 2)");
  await page.getByRole("button", { name: "Preview" }).click();
  expect(await wrong(page, "Type", 1)).toMatch(/^Behind map<string, list<struct<a decimal\(77, 2\) > is expected, but the text ends\./);
  await column.getByLabel("Type").press("End");
  await page.keyboard.type(" NOT NULL>>>");
  // How it is written is the form's business, what there can be the service's.
  await page.getByRole("button", { name: "Preview" }).click();
  expect(await wrong(page, "Type", 1)).toMatch(/the precision has to be between 1 and 76/);
  await column.getByLabel("Type").fill("MAP<STRING, LIST<STRUCT<a DECIMAL(7, 2) NOT NULL>>>");
  await page.keyboard.press("Tab"); // Null
  await page.keyboard.press("Space");
  for (let i = 0; i < 3; i++) {
    await page.keyboard.press("Tab"); // Key, Remove, More
  }
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab"); // Default
  await page.keyboard.press("Tab");
  await page.keyboard.type("EXTERNAL");
  await page.getByRole("button", { name: "Preview" }).click();
  await page.getByText("The service would accept this: 1 event.").waitFor();
  await page.getByRole("button", { name: "Create the table" }).click();
  await page.getByRole("heading", { level: 1, name: "public.nested" }).waitFor();
  const { table } = await cluster.client.metadata.getTable({ table: { name: "nested" } });
  const type = table?.columns[1]?.dataType;
  expect(type).toMatchObject({ kind: TypeKind.MAP, key: { kind: TypeKind.STRING }, element: { kind: TypeKind.LIST } });
  expect(type?.element?.element?.fields[0]).toMatchObject({ name: "a", nullable: false, dataType: { precision: 7, scale: 2 } });
  expect(table?.columns[1]).toMatchObject({ nullable: true, toastStrategy: ToastStrategy.EXTERNAL });
  expect(table?.properties).toEqual({ owner: "ada" });
  await page.close();
});

test("what is wrong behind the disclosure is shown", async () => {
  const page = await browser.open(origin, "/schema/new");
  await page.getByLabel("Name", { exact: true }).first().fill("plain");
  const column = page.getByRole("group", { name: "Column 1" });
  await column.getByText("More").click();
  await column.getByLabel("TOAST").selectOption({ label: "PLAIN: always inline" });
  await column.getByText("More").click();
  await page.getByRole("button", { name: "Preview" }).click();
  await column.getByText("INT64 cannot be toasted").waitFor();
  await page.close();
});

test("an error in the trailers of gRPC-Web becomes a sentence", async () => {
  await cluster.client.metadata.createTable({ table: { name: "taken", columns: [{ name: "id", dataType: { kind: TypeKind.INT64 } }] } });
  const page = await browser.open(origin, "/schema/new");
  await page.getByLabel("Name", { exact: true }).first().fill("taken");
  const answered = page.waitForResponse((response) => response.url().endsWith("/CreateTable"));
  await page.getByRole("button", { name: "Create the table" }).click();
  const answer = await answered;
  expect(answer.status()).toBe(200);
  expect(answer.headers()["content-type"]).toMatch(/^application\/grpc-web\+proto/);
  expect(await page.getByRole("alert").innerText()).toMatch(/taken.*exists|exists.*taken/i);
  expect(new URL(page.url()).pathname).toBe("/schema/new");
  await page.close();
});

test("a node is registered, and a shard split", async () => {
  const page = await browser.open(origin, "/topology/register");
  await page.getByLabel("Id", { exact: true }).fill("storage-9");
  await page.getByLabel("Labels").fill("zone");
  await page.getByRole("button", { name: "Register the node" }).click();
  await page.getByText("The label zone is no key=value.").waitFor();
  await page.getByLabel("Labels").fill("zone=z");
  await page.getByRole("button", { name: "Register the node" }).click();
  expect(await wrong(page, "Address")).not.toBe("");
  await page.getByLabel("Address").fill("127.0.0.1:6009");
  await page.getByRole("button", { name: "Register the node" }).click();
  await page.getByRole("heading", { level: 1, name: "storage-9" }).waitFor();
  await page.getByText("127.0.0.1:6009", { exact: true }).waitFor();

  await page.goto(`${origin}/topology/shards/3`);
  await page.getByLabel("Split keys").fill("0xzz");
  await page.getByRole("button", { name: "Preview" }).click();
  await page.getByText("two hexadecimal digits for each byte").waitFor();
  await page.getByLabel("Split keys").fill("0xf0");
  await page.getByRole("button", { name: "Preview" }).click();
  expect(await page.getByRole("alert").innerText()).toMatch(/0xf0/);
  await page.getByLabel("Split keys").fill("0x50");
  await page.getByRole("button", { name: "Split the shard" }).click();
  await page.getByRole("heading", { level: 1, name: "Shard 9" }).waitFor();
  await page.getByText("[0x40, 0x50)").first().waitFor();
  await page.close();
});

test("a table that was changed while the dialog was open is not dropped", async () => {
  const { table } = await cluster.client.metadata.createTable({ table: { name: "meant", columns: [{ name: "id", dataType: { kind: TypeKind.INT64 } }] } });
  const page = await browser.open(origin, `/schema/tables/${table?.tableId}`);
  await page.getByRole("button", { name: "Drop the table" }).click();
  await page.getByLabel("Write its full name").fill("public.meant");
  await cluster.command("table", "alter", "meant", "--add-column", "precious INT64");
  await page.locator("td", { hasText: "precious" }).waitFor();
  await page.getByRole("button", { name: "Drop", exact: true }).click();
  expect(await page.getByRole("dialog").getByRole("alert").innerText()).toMatch(/version/i);
  expect((await cluster.client.metadata.getTable({ table: { name: "meant" } })).table?.version).toBe(2n);
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Drop the table" }).click();
  await page.getByLabel("Write its full name").fill("public.meant");
  await page.getByRole("button", { name: "Drop", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: /does not exist/ }).waitFor();
  await page.close();
});

test("a preview goes when what it was of has changed", async () => {
  const page = await browser.open(origin, "/schema/new");
  const accepted = page.getByText("The service would accept this");
  await page.getByLabel("Name", { exact: true }).first().fill("fresh");
  await page.getByRole("button", { name: "Preview" }).click();
  await accepted.waitFor();
  await page.getByRole("button", { name: "Add a column" }).click();
  await accepted.waitFor({ state: "detached" });

  const { topology } = await cluster.client.metadata.getTopology({});
  const shard = topology?.shards.find(({ shardId }) => shardId === 6n);
  await page.goto(`${origin}/topology/shards/6`);
  await page.getByLabel("Split keys").fill("0xa8");
  await page.getByRole("button", { name: "Preview" }).click();
  await accepted.waitFor();
  expect(await page.locator(".preview").innerText()).toContain("shard split");
  const nodes = [shard?.mirrorNode, shard?.primaryNode, shard?.witnessNode].map(String);
  const [primaryNode = "", mirrorNode = "", witnessNode = ""] = nodes;
  await cluster.client.metadata.updateShardMap({ changes: [{ action: { case: "move", value: { shardId: 6n, primaryNode, mirrorNode, witnessNode } } }] });
  await page.getByText("The shard was changed meanwhile").waitFor();
  expect(await accepted.count()).toBe(0);
  await page.getByRole("button", { name: "Preview" }).click();
  await accepted.waitFor();
  await page.getByRole("button", { name: "Split the shard" }).click();
  await page.getByRole("heading", { level: 1, name: /^Shard (?!6$)/ }).waitFor();
  await page.close();
});

test("a write whose answer is lost is made again, and carried out once", async () => {
  const proxy = new Proxy(origin);
  const page = await browser.open(await proxy.listen(), "/schema/new");
  await live(page);
  await page.getByLabel("Name", { exact: true }).first().fill("once");
  const before = await revision();
  proxy.swallow = "/CreateTable";
  await page.getByRole("button", { name: "Create the table" }).click();
  await page.getByText("Press the button again to learn it").waitFor();
  proxy.refuse = undefined;
  await page.getByRole("button", { name: "Preview" }).click();
  expect(await page.getByRole("alert").innerText()).toMatch(/exists/);
  await page.getByText("Press the button again to learn it").waitFor(); // a preview does not tell it
  await page.getByRole("button", { name: "Create the table" }).click();
  await page.getByRole("heading", { level: 1, name: "public.once" }).waitFor();
  expect(await revision()).toBe(before + 1n);
  await page.close();
  await proxy.close();
});

test("the keyboard reaches navigation and forms", async () => {
  const page = await browser.open(origin, "/");
  await live(page);
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? "");
  const tabTo = async (text: string, most: number) => {
    for (let i = 0; i < most && (await focused()) !== text; i++) {
      await page.keyboard.press("Tab");
    }
    expect(await focused()).toBe(text);
  };
  await page.keyboard.press("Tab");
  expect(await focused()).toBe("Skip to content");
  await tabTo("Schema", 6);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Schema" }).waitFor();
  await tabTo("Create a table", 12);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Create a table" }).waitFor();
  await page.getByLabel("Name", { exact: true }).first().focus();
  await page.keyboard.type("typed");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "public.typed" }).waitFor();
  await tabTo("Drop the table", 20);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.close();
});
