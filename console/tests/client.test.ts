import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { Browser } from "./browser.js";
import { loneMember, type Member } from "./members.js";
import { Proxy } from "./proxy.js";

const directory = mkdtempSync(join(tmpdir(), "heliosmeta-client-"));
let pages: Server;
let origin: string;
let member: Member;
let proxy: Proxy;
let service: string;
let browser: Browser;

/** A page of another origin than the service's, with the client in it and nothing else. */
async function bundle(): Promise<void> {
  const client = fileURLToPath(new URL("../node_modules/@heliosdb/metadata", import.meta.url));
  writeFileSync(join(directory, "page.ts"), `import * as metadata from "@heliosdb/metadata";\nObject.assign(globalThis, { metadata });\n`);
  writeFileSync(join(directory, "index.html"), `<!doctype html><link rel="icon" href="data:,"><script type="module" src="./page.ts"></script>`);
  await build({ root: directory, configFile: false, logLevel: "warn", resolve: { alias: { "@heliosdb/metadata": client } }, build: { outDir: "out" } });
}

beforeAll(async () => {
  await bundle();
  const assets = readdirSync(join(directory, "out/assets")).map((file) => `/assets/${file}`);
  pages = createServer((asked, answer) => {
    const isAsset = assets.includes(asked.url ?? "");
    answer.writeHead(200, { "content-type": isAsset ? "text/javascript" : "text/html" });
    answer.end(readFileSync(join(directory, "out", isAsset ? (asked.url ?? "") : "index.html")));
  });
  await new Promise<void>((resolve) => pages.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
  member = await loneMember(join(directory, "data"), "--cors-origins", origin);
  member.start();
  await member.ready();
  proxy = new Proxy(member.url);
  service = await proxy.listen();
  browser = await Browser.launch();
});

afterAll(async () => {
  await browser?.close();
  await proxy?.close();
  await member?.kill();
  pages?.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Runs in the page: writes, fails, and watches over cuts. */
async function use([endpoint, protocol, prefix]: [string, "connect" | "grpc-web", string]) {
  const { metadata } = globalThis as unknown as { metadata: typeof import("@heliosdb/metadata") };
  const { Client, Consistency, ErrorReason, MetadataError, TypeKind } = metadata;
  const client = new Client({ endpoints: [endpoint], protocol, actor: "page" });
  const create = (name: string) => client.metadata.createTable({ table: { name, columns: [{ name: "id", dataType: { kind: TypeKind.INT64 } }] } });
  const after = (await create(`${prefix}_0`)).result?.position;
  const reason = await create(`${prefix}_0`).then(
    () => "none",
    (error: unknown) => (error instanceof MetadataError ? ErrorReason[error.reason] : String(error)),
  );
  const { table } = await client.metadata.getTable({ table: { name: `${prefix}_0` }, read: { consistency: Consistency.AT_LEAST } });
  let breaks = 0;
  const seen: string[] = [];
  const writing = (async () => {
    for (let i = 1; i <= 5; i++) {
      await create(`${prefix}_${i}`);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  })();
  const request = after === undefined ? {} : { start: { case: "after" as const, value: after } };
  for await (const frame of client.watch(request, { onBreak: () => breaks++ })) {
    const events = frame.case === "changes" ? frame.value.changes.flatMap((change) => change.events) : [];
    seen.push(...events.map(({ kind }) => (kind.case === "tableCreated" ? (kind.value.table?.name ?? "") : "?")));
    if (seen.length >= 5 && breaks > 0) {
      break;
    }
  }
  await writing;
  client.close();
  return { reason, read: table?.name, seen, broken: breaks > 0 };
}

describe.each(["connect", "grpc-web"] as const)("the client in a page of another origin, over %s", (protocol) => {
  test("writes, fails in words, and watches over cuts", async () => {
    const prefix = protocol === "connect" ? "c" : "g";
    proxy.cutAfter = 500;
    const page: Page = await browser.open(origin, "/", undefined, undefined, [service]);
    await page.waitForFunction(() => "metadata" in globalThis);
    expect(await page.evaluate(use, [service, protocol, prefix] as [string, typeof protocol, string])).toEqual({
      reason: "ALREADY_EXISTS",
      read: `${prefix}_0`,
      seen: [1, 2, 3, 4, 5].map((i) => `${prefix}_${i}`),
      broken: true,
    });
    expect(browser.offences.splice(0)).toEqual([]);
    await page.close();
  });
});

test("a page of an origin that was not named is refused, and is told what to do", async () => {
  const page = await browser.open(origin.replace("127.0.0.1", "localhost"), "/", undefined, undefined, [service]);
  await page.waitForFunction(() => "metadata" in globalThis);
  const message = await page.evaluate(async (endpoint) => {
    const { metadata } = globalThis as unknown as { metadata: typeof import("@heliosdb/metadata") };
    const client = new metadata.Client({ endpoints: [endpoint], timeoutMs: 3_000 });
    return client.metadata.listNamespaces({}).then(() => "answered", (error: unknown) => String(error));
  }, service);
  expect(message).toContain("--cors-origins");
  await page.close();
});
