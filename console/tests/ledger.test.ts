import { Stream } from "@heliosdb/metadata";
import { describe, expect, test } from "vitest";

import { Ledger, type Line } from "../src/live/ledger.js";

const { SCHEMA, TOPOLOGY } = Stream;

const line = (stream: Stream, revision: number, seconds: number): Line => ({
  stream,
  revision: BigInt(revision),
  time: { seconds: BigInt(seconds), nanos: 0 },
});

/** Changes from one revision down to another one, one each second, so that the last has that time. */
const down = (stream: Stream, from: number, to: number, lastSecond: number): Line[] =>
  Array.from({ length: from - to + 1 }, (_, i) => line(stream, from - i, lastSecond + (from - to) - i));

const revisions = (lines: readonly Line[]) => lines.map(({ stream, revision }) => `${stream === SCHEMA ? "s" : "t"}${revision}`).join(" ");

describe("a list of changes of two streams", () => {
  test("ends where the first page ends that has more behind it", () => {
    const ledger = new Ledger([SCHEMA, TOPOLOGY], 1000);
    expect(ledger.unread).toBe(true);
    expect(ledger.next()).toEqual([SCHEMA, TOPOLOGY]);
    ledger.turn(SCHEMA, down(SCHEMA, 9, 7, 107), "older");
    ledger.turn(TOPOLOGY, down(TOPOLOGY, 4, 2, 2), "older");
    expect(ledger.unread).toBe(false);
    // Schema 1 to 6 are newer than all of the topology's, which therefore wait.
    expect(revisions(ledger.lines())).toBe("s9 s8 s7");
    expect(ledger.next()).toEqual([SCHEMA]);
    ledger.turn(SCHEMA, down(SCHEMA, 6, 1, 101), "");
    expect(revisions(ledger.lines())).toBe("s9 s8 s7 s6 s5 s4 s3 s2 s1 t4 t3 t2");
    expect(ledger.next()).toEqual([TOPOLOGY]);
    ledger.turn(TOPOLOGY, down(TOPOLOGY, 1, 1, 1), "");
    expect(ledger.next()).toEqual([]);
    expect(revisions(ledger.lines())).toMatch(/t1$/);
  });

  test("is complete for one stream as far as that was read", () => {
    const ledger = new Ledger([SCHEMA, TOPOLOGY], 1000);
    ledger.turn(SCHEMA, down(SCHEMA, 9, 7, 107), "older");
    ledger.turn(TOPOLOGY, down(TOPOLOGY, 4, 2, 2), "older");
    expect(revisions(ledger.lines(TOPOLOGY))).toBe("t4 t3 t2");
    expect(ledger.next(TOPOLOGY)).toEqual([TOPOLOGY]);
    expect(ledger.token(TOPOLOGY)).toBe("older");
  });

  test("grows at its beginning, and knows the newest of each stream", () => {
    const ledger = new Ledger([SCHEMA, TOPOLOGY], 1000);
    ledger.turn(SCHEMA, down(SCHEMA, 2, 1, 1), "");
    ledger.turn(TOPOLOGY, [], "");
    ledger.hear(line(TOPOLOGY, 1, 50));
    ledger.hear(line(SCHEMA, 2, 2)); // known already
    expect(revisions(ledger.lines())).toBe("t1 s2 s1");
    expect([...ledger.newest()]).toEqual([[SCHEMA, 2n], [TOPOLOGY, 1n]]);
  });

  test("asks on in a stream that was not read, or whose page was empty", () => {
    const ledger = new Ledger([SCHEMA, TOPOLOGY], 1000);
    ledger.turn(SCHEMA, down(SCHEMA, 2, 1, 1), "");
    expect(ledger.next()).toEqual([TOPOLOGY]);
    ledger.turn(TOPOLOGY, [], "more");
    expect(ledger.next()).toEqual([TOPOLOGY]);
  });

  test("keeps the newest ones", () => {
    const ledger = new Ledger([SCHEMA, TOPOLOGY], 3);
    ledger.turn(SCHEMA, down(SCHEMA, 9, 6, 10), "older");
    ledger.turn(TOPOLOGY, [], "");
    expect(revisions(ledger.lines())).toBe("s9 s8 s7");
    expect(ledger.full).toBe(true);
    expect(ledger.next()).toEqual([]);
    ledger.hear(line(TOPOLOGY, 1, 99));
    expect(revisions(ledger.lines())).toBe("t1 s9 s8");
  });
});
