import { NodeType, Stream } from "@heliosdb/metadata";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { barriers } from "./accessibility.js";
import { Browser, DESKTOP, live, PHONE } from "./browser.js";
import { Cluster } from "./members.js";

let cluster: Cluster;
let browser: Browser;
let origin: string;

beforeAll(async () => {
  cluster = await Cluster.start();
  browser = await Browser.launch();
  browser.callable = cluster.members.map(({ url }) => url);
  origin = cluster.members[0]?.url ?? "";
  await cluster.command("apply", "-f", "../examples/tpch.yaml", "-f", "../examples/topology.yaml", "--actor", "ada");
  await cluster.client.consumers.createConsumer({ consumer: { name: "audit" } });
});

afterAll(async () => {
  await browser?.close();
  await cluster?.stop();
});

afterEach(async () => {
  await browser.leave();
  expect(browser.offences.splice(0)).toEqual([]);
});

/** The paths of all pages, with their headings and what comes last on them. */
const pages = [
  ["/", "Overview", ["nothing is lost", "Nothing is wrong", "table created", "ada"]],
  ["/schema", "Schema", ["lineitem"]],
  ["/schema/tables/2", "tpch.nation", ["n_regionkey", "table created"]],
  ["/schema/tables/9999", "Table 9999 does not exist", ["Nothing of it is in the history"]],
  ["/schema/new", "Create a table", ["Create the table"]],
  ["/topology", "Topology", ["storage-1", "8 shards", "[0x40, "]],
  ["/topology/nodes/storage-1", "storage-1", ["Lease lasts", "node registered", "[0x"]],
  ["/topology/shards/3", "Shard 3", ["Split keys", "shard created"]],
  ["/topology/register", "Register a node", ["Labels"]],
  ["/changes", "Changes", ["namespace created", "node registered", "ada"]],
  ["/changes/schema/1", "Change schema 1", ["Difference to before", "added", '"namespaceCreated"']],
  ["/schema/nowhere", "There is no such page", []],
] as const;

/** What sticks out of the window to the right, where nothing scrolls. Panels cut what does: it is missing then. */
function sticking(): string[] {
  return [...document.querySelectorAll("main *, header *")]
    .filter((element) => element.closest(".scroll, .viewport, pre, svg, .chart, .visually-hidden, .skip") === null)
    .filter((element) => element.getBoundingClientRect().width > 0 && element.getBoundingClientRect().right > innerWidth + 1)
    .map((element) => `${element.tagName}.${element.className} ends at ${element.getBoundingClientRect().right}: ${element.textContent?.slice(0, 40)}`);
}

describe.each([
  ["on a desk", DESKTOP, ["light", "dark"]],
  ["on a phone", PHONE, ["dark"]],
] as const)("%s", (_name, viewport, schemes) => {
  test.each(pages)("%s has its content, does not overflow and keeps nobody out", async (path, heading, content) => {
    const page = await browser.open(origin, path, viewport);
    await page.getByRole("heading", { level: 1, name: heading, exact: true }).waitFor();
    await live(page);
    for (const text of content) {
      await page.locator("main").getByText(text).first().waitFor({ state: text === "ada" ? "visible" : "attached" });
    }
    expect(await page.evaluate(sticking)).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    for (const colorScheme of schemes) {
      await page.emulateMedia({ colorScheme });
      await page.locator(`html[data-theme="${colorScheme}"]`).waitFor();
      expect(await barriers(page)).toEqual([]);
    }
    await page.close();
  });
});

test("the overview says that nothing is wrong, who leads, and what happened last", async () => {
  const page = await browser.open(origin, "/");
  await page.getByText("Nothing is wrong.").waitFor();
  await page.getByText("3 of 3 members answer").waitFor();
  const leader = await cluster.leader(Stream.SCHEMA);
  await page.locator("tr", { hasText: leader.url.replace("http://", "") }).getByText("leader").first().waitFor();
  await page.locator("section", { hasText: "Last changes" }).getByText("ada").first().waitFor();
  const { clusterId } = await cluster.client.cluster.status({});
  await page.getByText(clusterId).waitFor();
  await page.close();
});

test("the overview draws how much is written, called and subscribed to", async () => {
  const page = await browser.open(origin, "/");
  await live(page);
  for (const title of ["Writes", "Calls of this member", "Subscriptions"]) {
    await page.getByRole("img", { name: `${title} over the last five minutes` }).locator("canvas").waitFor();
  }
  const rate = (title: string, name: string) =>
    page.locator("section", { has: page.getByRole("heading", { name: title }) }).locator(".key", { hasText: name }).locator("strong");
  await expect.poll(() => rate("Writes", "schema").innerText()).toBe("0"); // measured at least twice
  await cluster.command("table", "create", "tpch.measured", "--column", "id INT64");
  await expect.poll(() => rate("Writes", "schema").innerText()).toMatch(/[1-9]/);
  await expect.poll(() => rate("Subscriptions", "open").innerText()).toMatch(/^[1-9]/);
  await expect.poll(() => rate("Calls", "ended").innerText()).toMatch(/[1-9]/);
});

test("a change made elsewhere appears without a reload, on every page", async () => {
  const schema = await browser.open(origin, "/schema");
  const changes = await browser.open(origin, "/changes");
  const table = await browser.open(origin, "/schema/tables/2");
  const topology = await browser.open(origin, "/topology");
  await Promise.all([schema, changes, table, topology].map(live));
  await table.getByText("n_nationkey").first().waitFor();
  await topology.getByText("8 shards").waitFor();

  await cluster.command("table", "create", "tpch.news", "--column", "id INT64", "--actor", "grace");
  await schema.getByRole("link", { name: "tpch.news" }).waitFor();
  await changes.getByRole("link", { name: /table created.*tpch\.news.*grace/s }).waitFor();

  await cluster.command("table", "alter", "tpch.nation", "--add-column", "population INT64");
  await table.getByRole("cell", { name: "population" }).waitFor();
  await table.getByText("columns[population]").waitFor();

  await cluster.command("shard", "delete", "5");
  await topology.getByText("1 hole in the key space").waitFor();
  expect(await topology.locator("svg .hole").count()).toBe(1);

  await cluster.command("table", "drop", "tpch.news");
  await schema.getByRole("link", { name: "tpch.news" }).waitFor({ state: "detached" });
  await Promise.all([schema, changes, table, topology].map((page) => page.close()));
});

test("what a node says of its load is shown by every member, with its age", async () => {
  const leader = await cluster.leader(Stream.TOPOLOGY);
  const follower = cluster.members.find((member) => member !== leader) ?? leader;
  const { node } = await cluster.client.metadata.registerNode({
    node: { nodeId: "busy-1", nodeType: NodeType.COMPUTE, addr: "127.0.0.1:7100", capacity: { cpuMillis: 4_000n } },
  });
  const page = await browser.open(follower.url, "/topology/nodes/busy-1");
  const load = page.getByRole("region", { name: "Load" });
  await load.getByText(`Not known: member ${leader.id}, which leads the topology, has not heard of it`).waitFor();
  await cluster.client.metadata.heartbeat({
    nodeId: "busy-1",
    epoch: node?.epoch ?? 0n,
    load: { cpuMillis: 1_000n, memoryBytes: 3n << 30n, requestsPerSecond: 12.5 },
  });
  await load.getByText("1 of 4").waitFor();
  await load.getByText("25 %").waitFor();
  await load.getByText("3.0 GiB").waitFor();
  await load.getByText(/said \d.* s ago, its lease lasts for/).waitFor();
  await page.getByRole("link", { name: "Topology" }).first().click();
  const row = page.getByRole("region", { name: "Nodes" }).getByRole("row", { name: /busy-1/ });
  await row.getByRole("cell", { name: "25 %" }).waitFor();
  await row.getByRole("cell", { name: "3.0 GiB" }).waitFor();
  await page.close();
});

test("the list of changes can be filtered and paused", async () => {
  const page = await browser.open(origin, "/changes");
  await page.getByRole("link", { name: /tpch\.nation/ }).first().waitFor();
  await page.getByLabel("Filter").fill("no such thing");
  await page.getByText("None of the changes that were read matches").waitFor();
  await page.getByLabel("Filter").fill("");
  await page.getByRole("button", { name: "Pause" }).click();
  await cluster.command("table", "create", "tpch.unseen", "--column", "id INT64");
  await page.getByText("1 new change").waitFor();
  expect(await page.getByRole("link", { name: /tpch\.unseen/ }).count()).toBe(0);
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("link", { name: /tpch\.unseen/ }).click();
  await page.getByRole("heading", { level: 1, name: /Change schema/ }).waitFor();
  await page.getByText('"tableCreated"').waitFor();
  await page.close();
});

test("everything is reached by keyboard, and a new page begins where it begins", async () => {
  const page = await browser.open(origin, "/");
  await live(page);
  const focused = () =>
    page.evaluate(() => {
      const { activeElement: its, body } = document;
      return its === null || its === body ? "" : its.id || its.textContent.trim();
    });
  const tabTo = async (what: string) => {
    for (let i = 0; i < 40 && (await focused()) !== what; i++) {
      await page.keyboard.press("Tab");
    }
    expect(await focused()).toBe(what);
  };
  await tabTo("Skip to content");
  await page.keyboard.press("Enter");
  expect(await focused()).toBe("main");
  await page.reload();
  await live(page);
  await tabTo("Schema");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Schema" }).waitFor();
  expect(await focused()).toBe("main");
  await tabTo("table-search");
  await page.keyboard.type("nation");
  await tabTo("tpch.nation");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "tpch.nation" }).waitFor();
  expect(await focused()).toBe("main");
  await tabTo("Drop the table");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  expect(await barriers(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  expect(await focused()).toBe("Drop the table");

  // What does not fit scrolls by keyboard.
  await page.setViewportSize(PHONE);
  const columns = page.getByRole("region", { name: "Table of columns" });
  await expect.poll(() => columns.getAttribute("tabindex")).toBe("0");
  await columns.focus();
  await page.keyboard.press("ArrowRight");
  await expect.poll(() => columns.evaluate((box) => box.scrollLeft)).toBeGreaterThan(0);
});

test("a shard in the drawing of the key space is opened without loading the page anew", async () => {
  const page = await browser.open(origin, "/topology");
  await page.getByText("shards").first().waitFor();
  await page.evaluate(() => Object.assign(globalThis, { loaded: "once" }));
  await page.locator("svg a").first().click();
  await page.getByRole("heading", { level: 1, name: /^Shard/ }).waitFor();
  expect(await page.evaluate(() => (globalThis as unknown as { loaded?: string }).loaded)).toBe("once");
  await page.close();
});

test("times are of UTC wherever the browser is", async () => {
  const far = await Browser.launch({ timezoneId: "Asia/Tokyo" });
  try {
    const page = await far.open(origin, "/changes/schema/1");
    const { changes } = await cluster.client.history.readChanges({ selection: { stream: Stream.SCHEMA, firstRevision: 1n, lastRevision: 1n } });
    const seconds = Number(changes[0]?.time?.seconds ?? 0n);
    await page.getByText(new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") + "Z").waitFor();
  } finally {
    await far.close();
  }
});

test("the theme follows the system, and the switch", async () => {
  const page = await browser.open(origin, "/");
  const theme = () => page.evaluate(() => document.documentElement.dataset["theme"]);
  await page.emulateMedia({ colorScheme: "dark" });
  await expect.poll(theme).toBe("dark");
  await page.emulateMedia({ colorScheme: "light" });
  await expect.poll(theme).toBe("light");
  const button = page.getByRole("button", { name: /^Theme/ });
  await button.click();
  await button.click();
  await expect.poll(theme).toBe("dark");
  await page.reload();
  await expect.poll(theme).toBe("dark");
  await page.getByRole("button", { name: /^Theme/ }).click();
  await page.close();
});

test("the page's policy is in force, and these tests would see it broken", async () => {
  const page = await browser.open(origin, "/");
  await live(page);
  const reached = await page.evaluate(() => fetch("http://127.0.0.1:9/").then(() => true, () => false));
  expect(reached).toBe(false);
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "globalThis.ran = true";
    document.body.append(script);
  });
  expect(await page.evaluate(() => "ran" in globalThis)).toBe(false);
  await expect.poll(() => browser.offences.join("\n")).toMatch(/connect-src[^]*script-src/);
  browser.offences.length = 0;
  await page.close();
});
