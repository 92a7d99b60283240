import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Client, Stream, TypeKind } from "@heliosdb/metadata";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { Browser, live } from "./browser.js";
import { Cluster, loneMember, type Member } from "./members.js";
import { Proxy } from "./proxy.js";

let cluster: Cluster;
let browser: Browser;

beforeAll(async () => {
  cluster = await Cluster.start();
  browser = await Browser.launch();
  browser.callable = cluster.members.map(({ url }) => url);
  await cluster.command("apply", "-f", "../examples/tpch.yaml", "-f", "../examples/topology.yaml");
});

afterAll(async () => {
  await browser?.close();
  await cluster?.stop();
});

afterEach(async () => {
  await browser.leave();
  expect(browser.offences.splice(0)).toEqual([]);
});

/** The first member, or another one than that. */
function member(except?: Member): Member {
  return cluster.members.find((m) => m !== except) as Member;
}

function createTable(name: string): Promise<string> {
  return cluster.command("table", "create", `tpch.${name}`, "--column", "id INT64");
}

/** Opens a page through a proxy, which is closed in the end. */
async function throughProxy(path: string, set: (proxy: Proxy) => void, look: (page: Awaited<ReturnType<Browser["open"]>>, proxy: Proxy) => Promise<void>) {
  const proxy = new Proxy(member().url);
  set(proxy);
  const page = await browser.open(await proxy.listen(), path);
  try {
    await look(page, proxy);
  } finally {
    await page.close();
    await proxy.close();
  }
}

test("the leader is killed, and the page of another member goes on by itself", async () => {
  const leader = await cluster.leader(Stream.SCHEMA);
  const page = await browser.open(member(leader).url, "/");
  await page.getByText("Nothing is wrong.").waitFor();
  const schema = await browser.open(member(leader).url, "/schema");
  await live(schema);
  await leader.kill();
  await page.getByText("no answer", { exact: true }).waitFor();
  await page.getByText(/What to do:/).first().waitFor();
  await createTable("after_the_leader");
  await schema.getByRole("link", { name: "tpch.after_the_leader" }).waitFor();
  await live(schema);
  leader.start();
  await leader.ready();
  await page.getByText("Nothing is wrong.").waitFor();
  await Promise.all([page.close(), schema.close()]);
});

test("the leader that the page came from is killed, and the page goes on at another member by itself", async () => {
  const own = await cluster.leader(Stream.SCHEMA);
  const page = await browser.open(own.url, "/schema");
  await live(page);
  await page.getByRole("link", { name: "tpch.nation" }).waitFor();
  await own.kill();
  const killed = performance.now();
  await createTable("after_its_leader");
  await page.getByRole("link", { name: "tpch.after_its_leader" }).waitFor();
  expect(performance.now() - killed).toBeLessThan(20_000);
  await live(page);

  // It says so, and everything works but a reload: pages, links and writes.
  const notice = page.getByRole("status", { name: "Connection" });
  await notice.getByText(`Member ${own.id}, where this page came from, does not answer.`).waitFor();
  for (const other of cluster.members.filter((m) => m !== own)) {
    expect(await notice.getByRole("link", { name: `member ${other.id}` }).getAttribute("href")).toBe(`${other.url}/schema`);
  }
  await page.getByRole("link", { name: "Create a table" }).click();
  await page.getByLabel("Name", { exact: true }).first().fill("by_another_member");
  await page.getByRole("button", { name: "Create the table" }).click();
  await page.getByRole("heading", { level: 1, name: "public.by_another_member" }).waitFor();
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByText("no answer", { exact: true }).waitFor();

  own.start();
  await own.ready();
  await page.getByText("Nothing is wrong.").waitFor();
  expect(await notice.count()).toBe(0);
  await page.close();
});

test("a page of another name than its member's calls that one only, and goes on when it is back", async () => {
  const own = member();
  const origin = own.url.replace("127.0.0.1", "localhost");
  const page = await browser.open(origin, "/schema");
  await live(page);
  await page.getByRole("link", { name: "tpch.nation" }).waitFor();
  await own.kill();
  const notice = page.getByRole("alert", { name: "Connection" });
  await notice.waitFor();
  expect(await notice.innerText()).toMatch(/Not live\. The member at \S+ does not answer \(.+\)\. See that it runs/);
  expect(await notice.getByRole("link", { name: "member 2" }).getAttribute("href")).toBe(`${cluster.members[1]?.url}/schema`);
  await createTable("missed");
  own.start();
  await own.ready();
  await live(page);
  await page.getByRole("link", { name: "tpch.missed" }).waitFor();
  expect(await notice.count()).toBe(0);
  await page.close();
});

test("a page that no member answers says so, and goes on when they are back", async () => {
  const page = await browser.open(member().url, "/schema");
  await live(page);
  await Promise.all(cluster.members.map((m) => m.kill()));
  await page.getByRole("alert", { name: "Connection" }).getByText("Not live. No member answers").waitFor();
  cluster.members.forEach((m) => m.start());
  await Promise.all(cluster.members.map((m) => m.ready()));
  await createTable("after_all");
  await page.getByRole("link", { name: "tpch.after_all" }).waitFor();
  await page.close();
});

test("streams that a proxy cuts again and again lose nothing, and nobody notices", async () => {
  await throughProxy("/changes", (proxy) => (proxy.cutAfter = 700), async (page, proxy) => {
    await live(page);
    for (let i = 0; i < 4; i++) {
      await createTable(`cut_${i}`);
      await expect.poll(() => proxy.cuts).toBeGreaterThan(i);
    }
    for (let i = 0; i < 4; i++) {
      await page.getByRole("link", { name: new RegExp(`tpch\\.cut_${i}`) }).waitFor();
    }
    expect(await page.getByRole("link", { name: /tpch\.cut_/ }).count()).toBe(4);
    expect(await page.getByRole("alert", { name: "Connection" }).count()).toBe(0);
  });
});

test("a token that is refused is said in a sentence, and tried again", async () => {
  await throughProxy("/schema", (proxy) => (proxy.refuse = { part: "heliosdb.metadata", status: 401 }), async (page, proxy) => {
    const notice = page.getByRole("alert", { name: "Connection" });
    await notice.waitFor();
    expect(await notice.innerText()).toMatch(/does not accept who you are\. Enter a valid token/);
    proxy.refuse = undefined;
    await notice.getByRole("button", { name: "Try now" }).click();
    await page.getByRole("link", { name: "tpch.nation" }).waitFor();
    await live(page);
  });
});

test("a token that is entered goes with every call, and with the measurements", async () => {
  await throughProxy("/", (proxy) => (proxy.token = "sesame"), async (page) => {
    const notice = page.getByRole("alert", { name: "Connection" });
    await notice.waitFor();
    await page.getByRole("button", { name: "Identity" }).click();
    await page.getByLabel("Token").fill("sesame");
    await page.getByRole("button", { name: "Save" }).click();
    await live(page);
    await page.getByText("Nothing is wrong.").waitFor();
    await page.getByText(/\/metrics of this address cannot be read/).waitFor({ state: "detached" });
    expect(await notice.count()).toBe(0);
  });
});

test("a slow older answer does not replace a newer one", async () => {
  await createTable("raced");
  const { table } = await cluster.client.metadata.getTable({ table: { namespace: "tpch", name: "raced" } });
  await throughProxy(`/schema/tables/${table?.tableId}`, (proxy) => (proxy.hold = { part: "/GetTable", millis: 3_500 }), async (page, proxy) => {
    await live(page);
    await expect.poll(() => proxy.hold).toBeUndefined(); // the first reading is on its way
    const column = { name: "newer", nullable: true, dataType: { kind: TypeKind.INT64 } };
    await cluster.client.metadata.alterTable({ table: { namespace: "tpch", name: "raced" }, alterations: [{ action: { case: "addColumn", value: { column } } }] });
    await page.getByRole("cell", { name: "newer", exact: true }).waitFor();
    expect(proxy.released).toBe(0);
    await expect.poll(() => proxy.released).toBe(1);
    await page.waitForTimeout(500);
    expect(await page.getByRole("cell", { name: "newer", exact: true }).count()).toBe(1);
  });
});

test.each([
  ["nothing may be kept", "for (const kind of ['localStorage', 'sessionStorage']) Object.defineProperty(window, kind, { get() { throw new DOMException('denied', 'SecurityError'); } })"],
  ["the language is that of 2022", "delete Promise.withResolvers; delete Object.groupBy; delete Array.prototype.toSorted"],
])("where %s, the page is there all the same", async (_, script) => {
  const page = await browser.open(member().url, "/", undefined, script);
  await page.getByText("Nothing is wrong.").waitFor();
  await page.getByRole("button", { name: /^Theme/ }).click();
  await page.getByRole("button", { name: "Identity" }).click();
  await page.getByRole("dialog").getByLabel("Name").fill("ada");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("button", { name: "ada" }).waitFor();
  await page.close();
});

test("a page whose program is not there says so", async () => {
  await throughProxy("/", (proxy) => (proxy.refuse = { part: ".js", status: 404 }), async (page) => {
    await page.getByText("The console could not be started here.").waitFor();
  });
});

test("an older member without an rpc leaves the rest of the page as it is", async () => {
  await throughProxy("/schema/tables/2", (proxy) => (proxy.refuse = { part: "HistoryService", status: 404 }), async (page) => {
    await page.getByRole("cell", { name: "n_nationkey" }).waitFor();
    await page.getByText("older than the console and cannot answer this").waitFor();
    await live(page);
  });
});

test("without /metrics the overview says what is missing, and why", async () => {
  await throughProxy("/", (proxy) => (proxy.refuse = { part: "/metrics", status: 403 }), async (page) => {
    await page.getByText(/\/metrics of this address cannot be read.*403/).waitFor();
    await page.getByText("Nothing is wrong.").waitFor();
  });
});

test.each(["1999-12-31T23:59:59Z", "2099-01-01T00:00:00Z"])("a browser whose clock says %s shows the same", async (now) => {
  const page = await browser.open(member().url, "/schema/new");
  await page.clock.setFixedTime(new Date(now));
  await page.goto(`${member().url}/changes`);
  await live(page);
  await createTable(`clock_${now.slice(0, 4)}`);
  const line = page.getByRole("link", { name: new RegExp(`tpch\\.clock_${now.slice(0, 4)}`) });
  await line.waitFor();
  expect(await line.innerText()).not.toContain(now.slice(0, 4) + "-");
  await page.close();
});

test("a service that begins anew at the same address is followed from its beginning", async () => {
  const directory = mkdtempSync(join(tmpdir(), "heliosmeta-console-"));
  const lone = await loneMember(directory);
  lone.start();
  await lone.ready();
  const client = new Client({ endpoints: [lone.url] });
  const create = (name: string) => client.metadata.createTable({ table: { name, columns: [{ name: "id", dataType: { kind: TypeKind.INT64 } }] } });
  try {
    await create("before");
    await create("more");
    const page = await browser.open(lone.url, "/schema");
    await page.getByRole("link", { name: "public.before" }).waitFor();
    await live(page);
    await lone.kill();
    rmSync(directory, { recursive: true });
    lone.start();
    await lone.ready();
    await page.getByText("There are no tables yet.").waitFor();
    await create("after");
    await page.getByRole("link", { name: "public.after" }).waitFor();
    expect(await page.getByRole("link", { name: "public.before" }).count()).toBe(0);
    await page.close();
  } finally {
    client.close();
    await lone.kill();
    rmSync(directory, { recursive: true, force: true });
  }
});

test("a service that begins anew with more changes than were seen is followed from its beginning, too", async () => {
  const directory = mkdtempSync(join(tmpdir(), "heliosmeta-console-"));
  const lone = await loneMember(directory);
  const proxy = new Proxy(lone.url);
  const client = new Client({ endpoints: [lone.url] });
  const begin = async (...names: string[]) => {
    lone.start();
    await lone.ready();
    for (const name of names) {
      await client.metadata.createTable({ table: { name, columns: [{ name: "id", dataType: { kind: TypeKind.INT64 } }] } });
    }
  };
  try {
    await begin("old1", "old2");
    const page = await browser.open(await proxy.listen(), "/schema");
    await page.getByRole("link", { name: "public.old2" }).waitFor();
    await live(page);
    proxy.refuse = { part: "heliosdb", status: 503 };
    await lone.kill();
    rmSync(directory, { recursive: true });
    await begin("new1", "new2", "new3", "new4");
    proxy.refuse = undefined;
    await page.getByText("4 tables in").waitFor();
    expect(await page.getByRole("link", { name: /^public\.(old|new)/ }).allInnerTexts()).toEqual([1, 2, 3, 4].map((i) => expect.stringContaining(`new${i}`)));
    await live(page);
    await client.metadata.createTable({ table: { name: "new5", columns: [{ name: "id", dataType: { kind: TypeKind.INT64 } }] } });
    await page.getByRole("link", { name: "public.new5" }).waitFor();
    await page.close();
  } finally {
    client.close();
    await proxy.close();
    await lone.kill();
    rmSync(directory, { recursive: true, force: true });
  }
});

test("a write that reaches another cluster is refused in a sentence, and the page follows that one once it is alone", async () => {
  const directory = mkdtempSync(join(tmpdir(), "heliosmeta-console-"));
  const own = await loneMember(join(directory, "own"), "--cluster-name", "own");
  const other = await loneMember(join(directory, "other"), "--cluster-name", "other");
  const client = new Client({ endpoints: [other.url] });
  const proxy = new Proxy(own.url);
  try {
    [own, other].forEach((its) => its.start());
    await Promise.all([own, other].map((its) => its.ready()));
    const page = await browser.open(await proxy.listen(), "/schema/new");
    await live(page);
    await page.getByText("own · member 1").waitFor();
    proxy.target = other.url; // but for the subscription, which is open
    await page.getByLabel("Name", { exact: true }).first().fill("astray");
    await page.getByRole("button", { name: "Create the table" }).click();
    await page.getByText(/Another cluster answers at .* Nothing was done\./).first().waitFor();
    expect((await client.metadata.listTables({})).tables).toEqual([]);

    await client.metadata.createTable({ table: { name: "there", columns: [{ name: "id", dataType: { kind: TypeKind.INT64 } }] } });
    await own.kill();
    await page.getByText("other · member 1").waitFor();
    await live(page);
    await page.getByRole("button", { name: "Create the table" }).click();
    await page.getByRole("heading", { level: 1, name: "public.astray" }).waitFor();
    await page.getByRole("link", { name: "Schema" }).first().click();
    await page.getByRole("link", { name: "public.there" }).waitFor();
    await page.close();
  } finally {
    client.close();
    await proxy.close();
    await Promise.all([own, other].map((its) => its.kill()));
    rmSync(directory, { recursive: true, force: true });
  }
});

test("a page that nobody looks at gives its connection back, and misses nothing", async () => {
  const page = await browser.open(member().url, "/");
  await page.clock.install();
  await page.goto(`${member().url}/changes`);
  await live(page);
  const show = (hidden: boolean) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { configurable: true, value });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  const given = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/Subscribe"));
  await show(true);
  await page.clock.fastForward(25_000);
  await given;
  await createTable("while_hidden");
  await show(false);
  await page.getByRole("link", { name: /tpch\.while_hidden/ }).waitFor();
  await page.close();
});
