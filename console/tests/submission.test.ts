import { Code, ErrorReason, MetadataError } from "@heliosdb/metadata";
import { describe, expect, test } from "vitest";

import { Submission, type WriteInit } from "../src/forms/submission.svelte.js";

const event = {} as never;
const unknown = () =>
  new MetadataError("not answered", Code.Unavailable, { reason: ErrorReason.NO_LEADER, requestId: "r1", knownRevision: 7n });
const mismatch = () => new MetadataError("version 2", Code.FailedPrecondition, { reason: ErrorReason.VERSION_MISMATCH });

/** A form whose write has these outcomes in turn, the last one for ever, and what was sent. */
function form(...outcomes: (MetadataError | undefined)[]): { submission: Submission<{ result: never }>; sent: WriteInit[] } {
  const sent: WriteInit[] = [];
  const submission = new Submission(async (write) => {
    sent.push(write);
    const outcome = outcomes.length > 1 ? outcomes.shift() : outcomes[0];
    if (outcome !== undefined && write.dryRun !== true) {
      throw outcome;
    }
    return { result: { events: [event] } as never };
  });
  return { submission, sent };
}

describe("a form whose write has an unknown outcome", () => {
  test("makes the same write again, and says so until that is known", async () => {
    const { submission, sent } = form(unknown(), undefined);
    expect(await submission.write()).toBeUndefined();
    expect(submission.uncertain).toBe(true);
    await submission.ask();
    expect(submission.preview).toHaveLength(1);
    expect(submission.uncertain).toBe(true); // a preview tells nothing of it
    expect(await submission.write()).toBeDefined();
    expect(submission.uncertain).toBe(false);
    expect(sent).toEqual([{}, { dryRun: true }, { requestId: "r1", knownRevision: 7n }]);
  });

  test("makes another write once it was changed, or cannot have been carried out", async () => {
    const changed = form(unknown());
    await changed.submission.write();
    changed.submission.edited();
    expect(changed.submission.uncertain).toBe(false);
    await changed.submission.write();
    expect(changed.sent).toEqual([{}, {}]);

    const late = form(unknown(), mismatch());
    await late.submission.write();
    await late.submission.write();
    expect(late.submission.uncertain).toBe(false);
    await late.submission.write();
    expect(late.sent).toEqual([{}, { requestId: "r1", knownRevision: 7n }, {}]);
  });

  test("was changed before the outcome came: then the next write is another one", async () => {
    const { submission, sent } = form(unknown());
    const writing = submission.write();
    submission.edited();
    await writing;
    expect(submission.problem).not.toBe("");
    await submission.write();
    expect(sent).toEqual([{}, {}]);
  });
});

test("a preview of what was changed meanwhile is not shown", async () => {
  const { submission } = form(undefined);
  const asking = submission.ask();
  submission.edited();
  await asking;
  expect(submission.preview).toBeUndefined();
});
