import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { create } from "@bufbuild/protobuf";
import { DataTypeSchema, EventSchema, MemberStatusSchema, NodeCapacitySchema, NodeReportSchema, ShardInfoSchema, TypeKind, type Event } from "@heliosdb/metadata";
import { describe, expect, test } from "vitest";

import { effects } from "../src/live/effects.js";
import { newestRevision, parseTotals } from "../src/live/totals.js";
import { lay } from "../src/parts/segments.js";
import { formatType } from "../src/text/datatype.js";
import { changeObjects, eventName } from "../src/text/events.js";
import { compareKeys, formatRange, parseKey } from "../src/text/keys.js";
import { formatPart, uses } from "../src/text/loads.js";
import { formatBytes, formatRate } from "../src/text/numbers.js";
import { isId, streamNamed } from "../src/text/streams.js";
import { formatAge, formatSpan, formatTime } from "../src/text/times.js";
import { parseType } from "../src/text/typetext.js";

const bytes = (...values: number[]) => Uint8Array.from(values);
const shard = (id: bigint, start: Uint8Array, end: Uint8Array) => create(ShardInfoSchema, { shardId: id, keyRange: { start: new Uint8Array(start), end: new Uint8Array(end) } });

describe("keys", () => {
  test.each([
    ["", ""],
    ["abc", "616263"],
    ["0x", ""],
    ["0x00fF", "00ff"],
  ])("%j is read", (text, digits) => {
    expect(Buffer.from(parseKey(text)).toString("hex")).toBe(digits);
  });

  test.each(["0x0", "0xzz", "0x00 "])("%j is refused, and named", (text) => {
    expect(() => parseKey(text)).toThrow(text);
  });

  test("are written as text only if they are, and alike in a range", () => {
    const from = (start: Uint8Array) => formatRange({ start: new Uint8Array(start), end: bytes() });
    expect(from(parseKey("abc"))).toBe('["abc", end)');
    expect(from(bytes(0x20))).toBe("[0x20, end)");
    expect(from(parseKey("0x30783431"))).toBe("[0x30783431, end)"); // what reads as hex is written so
    expect(from(bytes(0xff, 0xfe))).toBe("[0xfffe, end)");
    expect(from(new Uint8Array(60))).toBe(`[0x${"00".repeat(48)}…, end)`);
    expect(formatRange({ start: bytes(0x40), end: bytes(0x50) })).toBe("[0x40, 0x50)");
    expect(formatRange({ start: bytes(), end: bytes() })).toBe("[start, end)");
    expect(formatRange(undefined)).toBe("[start, end)");
  });

  test("are compared byte by byte, the shorter one first", () => {
    expect(compareKeys(bytes(1), bytes(1, 0))).toBeLessThan(0);
    expect(compareKeys(bytes(0xff), bytes(1))).toBeGreaterThan(0);
    expect(compareKeys(bytes(1, 2), bytes(1, 2))).toBe(0);
  });
});

describe("segments", () => {
  const ids = (...shards: Parameters<typeof lay>[0]) => lay(shards).map(({ shard: its }) => its?.shardId);

  test("hold the holes at both ends and between", () => {
    expect(ids(shard(1n, bytes(0x10), bytes(0x20)), shard(2n, bytes(0x20), bytes(0x30)), shard(3n, bytes(0x40), bytes(0x50)))).toEqual([
      undefined, 1n, 2n, undefined, 3n, undefined,
    ]);
    expect(ids(shard(1n, bytes(), bytes(0x80)), shard(2n, bytes(0x80), bytes()))).toEqual([1n, 2n]);
    expect(ids()).toEqual([]);
  });

  test("take as much of the key space as they have keys", () => {
    const [low, high] = lay([shard(1n, bytes(), bytes(0x40)), shard(2n, bytes(0x40), bytes())]);
    expect(low).toMatchObject({ start: 0, end: 0.25 });
    expect(high).toMatchObject({ start: 0.25, end: 1 });
  });
});

describe("effects", () => {
  const kinds = (event: Event) => effects(event).map(({ kind, gone }) => `${kind}${gone ? " gone" : ""}`);

  test("are whole objects, put or gone", () => {
    expect(kinds(create(EventSchema, { kind: { case: "tableCreated", value: { table: { tableId: 1n } } } }))).toEqual(["table"]);
    expect(kinds(create(EventSchema, { kind: { case: "nodeUnregistered", value: { node: { nodeId: "a" } } } }))).toEqual(["node gone"]);
    expect(kinds(create(EventSchema, { kind: { case: "shardSplit", value: { parent: { shardId: 1n }, children: [{ shardId: 2n }, { shardId: 3n }] } } }))).toEqual([
      "shard gone", "shard", "shard",
    ]);
    expect(kinds(create(EventSchema, { kind: { case: "shardsMerged", value: { parents: [{ shardId: 1n }, { shardId: 2n }], shard: { shardId: 3n } } } }))).toEqual([
      "shard gone", "shard gone", "shard",
    ]);
  });

  test("of kinds that are not known, and of objects that are missing, are none", () => {
    expect(effects(create(EventSchema))).toEqual([]);
    expect(effects(create(EventSchema, { kind: { case: "tableCreated", value: {} } }))).toEqual([]);
  });

  test("have a line for people", () => {
    const dropped = create(EventSchema, { kind: { case: "tableDropped", value: { table: { namespace: "a", name: "b" } } } });
    expect(eventName(dropped)).toBe("table dropped");
    expect(eventName(create(EventSchema))).toBe("unknown event");
    const change = { events: [dropped, dropped, dropped, dropped] } as Parameters<typeof changeObjects>[0];
    expect(changeObjects(change)).toBe("a.b; a.b and 2 more events");
  });
});

test("totals are read from metrics, whatever else is there", () => {
  const text = [
    "# HELP heliosmeta_rpc_handled_total Calls",
    'heliosmeta_rpc_handled_total{code="ok",rpc="/a"} 7',
    'heliosmeta_rpc_handled_total{code="canceled",rpc="/a"} 1',
    'heliosmeta_rpc_handled_total{code="not_found",rpc="/b"} 2e+00',
    'heliosmeta_rpc_handled_total{code="ok",rpc="/c"} NaN',
    'heliosmeta_rpc_stream_messages_sent_total{rpc="/s"} 4',
    'other_total{code="ok"} 5',
  ].join("\n");
  expect(parseTotals(text)).toEqual({ calls: 10, errors: 2, messages: 4 });
  expect(parseTotals("<html>")).toEqual({ calls: 0, errors: 0, messages: 0 });
});

test("the newest revision is that of the member that is ahead, or not known", () => {
  const member = (revision: bigint) => create(MemberStatusSchema, { streams: [{ stream: 1, revision }, { stream: 2, revision: 1n }] });
  expect(newestRevision([member(7n), member(9n), member(8n), create(MemberStatusSchema)], 1)).toBe(9n);
  expect(newestRevision([create(MemberStatusSchema)], 1)).toBeUndefined();
});

test("times say in which zone they are, the same for all", () => {
  const zone = process.env["TZ"];
  process.env["TZ"] = "Asia/Tokyo";
  try {
    expect(formatTime({ seconds: 1_790_000_000n, nanos: 999_999_999 } as Parameters<typeof formatTime>[0])).toBe("2026-09-21 14:13:20Z");
    expect(formatTime({ seconds: 1n << 60n, nanos: 0 } as Parameters<typeof formatTime>[0])).toBe("–");
    expect(formatTime(undefined)).toBe("–");
  } finally {
    process.env["TZ"] = zone;
    if (zone === undefined) {
      delete process.env["TZ"];
    }
  }
});

test("types are written as on the command line", () => {
  const type = create(DataTypeSchema, {
    kind: TypeKind.MAP,
    key: { kind: TypeKind.STRING },
    element: { kind: TypeKind.LIST, element: { kind: TypeKind.DECIMAL, precision: 5, scale: 2 } },
  });
  expect(formatType(type)).toBe("MAP<STRING, LIST<DECIMAL(5, 2)>>");
  expect(formatType(undefined)).toBe("?");
  expect(formatType(create(DataTypeSchema, { kind: 99 as TypeKind }))).toBe("?99");
});

test("numbers, spans and names", () => {
  expect([0n, 1023n, 1536n, 5n << 40n].map(formatBytes)).toEqual(["0 B", "1023 B", "1.5 KiB", "5.0 TiB"]);
  expect([null, 0, 0.25, 12.4, 1234.5].map(formatRate)).toEqual(["–", "0", "0.3", "12", "1,235"]);
  expect([59n, 61n, 7_300n, 200_000n].map((seconds) => formatSpan({ seconds, nanos: 0 }))).toEqual(["59 s", "1 min", "2 h 1 min", "2 d 7 h"]);
  expect([undefined, { seconds: 0n, nanos: 5e8 }, { seconds: 2n, nanos: 5e8 }, { seconds: 0n, nanos: 0 }].map(formatSpan)).toEqual(["–", "500 ms", "2.5 s", "0 s"]);
  expect(["0", "-1", "1e3", "", "12", "99999999999999999999"].map(isId)).toEqual([false, false, false, false, true, false]);
  expect(["schema", "nothing", "1"].map(streamNamed)).toEqual([1, undefined, undefined]);
});

test("loads are written beside what the node offers, if it says so", () => {
  const report = create(NodeReportSchema, { load: { cpuMillis: 1_500n, memoryBytes: 1n << 30n, requestsPerSecond: 2.5 } });
  const capacity = create(NodeCapacitySchema, { cpuMillis: 4_000n });
  expect(uses(report, capacity)).toEqual([
    { name: "CPUs", text: "1.5 of 4", part: 0.375 },
    { name: "Memory", text: "1.0 GiB", part: undefined },
    { name: "Disk", text: "0 B", part: undefined },
    { name: "Requests/s", text: "2.5", part: undefined },
  ]);
  expect(uses(create(NodeReportSchema, {}), capacity)).toEqual([]);
  expect(uses(undefined, undefined)).toEqual([]);
  expect(formatPart(0.375)).toBe("38 %");
  expect([{ seconds: 0n, nanos: 40_000_000 }, { seconds: 9n, nanos: 0 }, { seconds: 75n, nanos: 5 }].map(formatAge)).toEqual(["0.0 s", "9.0 s", "1 min"]);
});

test("types are read and written as by the service's own tools", () => {
  const file = fileURLToPath(new URL("../../internal/sqltype/testdata/texts.json", import.meta.url));
  const { parsed, refused } = JSON.parse(readFileSync(file, "utf8")) as { parsed: Record<string, string>; refused: string[] };
  expect(Object.keys(parsed).map((text) => formatType(parseType(text)))).toEqual(Object.values(parsed));
  expect(refused.filter((text) => isRead(text))).toEqual([]);
  expect(() => parseType("LIST<INT65>")).toThrow("Behind LIST< a type is expected, but there is INT65.");
  expect(() => parseType("MAP<STRING")).toThrow("Behind MAP<STRING , is expected, but the text ends.");
});

function isRead(text: string): boolean {
  try {
    parseType(text);
    return true;
  } catch {
    return false;
  }
}
