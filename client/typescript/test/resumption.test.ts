import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";

import { ErrorReason, Stream, SubscribeRequestSchema, type Position, type SubscribeResponse } from "../src/index.js";
import { Resumption, SNAPSHOT_INTERRUPTED, type Frame } from "../src/resumption.js";
import { at, bookmark, changes, reset, snapshot } from "./fake.js";

const { SCHEMA, TOPOLOGY } = Stream;
const again = { again: true, waitMs: 0 };
const final = { again: false, waitMs: 0 };

function latest(members = 3): Resumption {
  return new Resumption(create(SubscribeRequestSchema), members);
}

function after(position: Position, failOnGap = false, members = 2): Resumption {
  return new Resumption(
    create(SubscribeRequestSchema, { start: { case: "after", value: position }, failOnGap }),
    members,
  );
}

function fromSnapshot(): Resumption {
  return new Resumption(create(SubscribeRequestSchema, { start: { case: "snapshot", value: true } }), 3);
}

function see(machine: Resumption, ...frames: SubscribeResponse[]): Frame[] {
  return frames.flatMap(({ frame }) => machine.see(frame) ?? []);
}

/** Where the next session begins, for people. */
function next(machine: Resumption): string {
  const { start, failOnGap } = machine.next();
  const where =
    start.case === "after" ? `after ${start.value.schemaRevision}:${start.value.topologyRevision}` : String(start.case);
  return failOnGap ? `${where} or fail` : where;
}

/** The revisions of changes that came out. */
function revisions(frames: Frame[]): number[] {
  return frames.flatMap((frame) =>
    frame.case === "changes" ? frame.value.changes.map(({ revision }) => Number(revision)) : [],
  );
}

describe("Resumption", () => {
  it("goes on behind what was seen", () => {
    const machine = latest();
    expect(next(machine)).toBe("undefined"); // the service's latest, until it is known where that is
    see(machine, bookmark(at(5, 2)), changes(SCHEMA, 6, 7));
    expect(next(machine)).toBe("after 7:2 or fail");
    expect(machine.broke(ErrorReason.UNSPECIFIED, again)).toEqual(again);
    expect(machine.announce()).toBeUndefined();
  });

  it("leaves out what comes twice, a part of a frame too", () => {
    const machine = latest();
    see(machine, bookmark(at(7, 2)));
    const out = see(
      machine,
      changes(SCHEMA, 6, 7),
      changes(TOPOLOGY, 2),
      changes(SCHEMA, 7, 8, 9),
      changes(TOPOLOGY, 3),
    );
    expect(revisions(out)).toEqual([8, 9, 3]);
    expect(out).toHaveLength(2);
    expect(next(machine)).toBe("after 9:3 or fail");
  });

  it("is not led back by a bookmark", () => {
    const machine = latest();
    const out = see(machine, bookmark(at(9, 3)), bookmark(at(7, 2)));
    expect(out[1]?.value).toMatchObject({ position: at(9, 3) });
    expect(next(machine)).toBe("after 9:3 or fail");
  });

  it("leaves out changes that are out of order", () => {
    const machine = fromSnapshot();
    expect(revisions(see(machine, changes(SCHEMA, 1, 4, 3, 2, 5), changes(SCHEMA, 4, 5)))).toEqual([1, 4, 5]);
  });

  it("begins an interrupted snapshot anew and says so once", () => {
    const machine = fromSnapshot();
    expect(machine.announce()).toBeUndefined(); // nothing came yet
    see(machine, snapshot(SCHEMA, 3));
    expect(machine.announce()).toMatchObject({ case: "reset", value: { stream: 0, reason: SNAPSHOT_INTERRUPTED } });
    expect(next(machine)).toBe("snapshot");
    expect(machine.announce()).toBeUndefined();
    // The next member is behind the first one: its frames count.
    expect(
      see(machine, snapshot(SCHEMA, 2), snapshot(TOPOLOGY, 1), bookmark(at(2, 1)), changes(SCHEMA, 3)),
    ).toHaveLength(4);
    expect(next(machine)).toBe("after 3:1 or fail");
  });

  it("begins both streams anew when the reset of one breaks off", () => {
    const machine = after(at(5, 5));
    see(machine, reset(SCHEMA, "HISTORY_TRIMMED"));
    expect(machine.announce()).toBeDefined();
    expect(next(machine)).toBe("snapshot");
  });

  it("asks other members before it goes back", () => {
    const machine = after(at(5, 5));
    expect(machine.broke(ErrorReason.FUTURE_REVISION, final)).toEqual(again);
    expect(next(machine)).toBe("after 5:5 or fail"); // the other member has not been asked yet
    expect(machine.broke(ErrorReason.FUTURE_REVISION, final)).toEqual(again);
    expect(next(machine)).toBe("after 5:5"); // now a reset may come
    see(machine, reset(0, "FUTURE_REVISION"), snapshot(SCHEMA, 1), snapshot(TOPOLOGY, 0), bookmark(at(1, 0)));
    expect(next(machine)).toBe("after 1:0 or fail");
  });

  it.each([ErrorReason.HISTORY_TRIMMED, ErrorReason.FOREIGN_POSITION])("asks for a reset after reason %i", (reason) => {
    const machine = after(at(5, 5));
    expect(machine.broke(reason, final)).toEqual(again);
    expect(next(machine)).toBe("after 5:5");
    // And hands the error on to who wants that instead.
    expect(after(at(5, 5), true).broke(reason, final).again).toBe(false);
  });

  it("repeats no bad request", () => {
    expect(after(at(5, 5)).broke(ErrorReason.INVALID_FIELD, final).again).toBe(false);
  });

  it("takes unknown frames and streams for signs of life", () => {
    const machine = after(at(5, 5));
    expect(machine.see({ case: undefined })).toBeUndefined();
    for (let stream = 10; stream < 100; stream++) {
      expect(revisions(see(machine, changes(stream as Stream, 1)))).toEqual([1]);
    }
    expect(next(machine)).toBe("after 5:5 or fail");
  });
});
