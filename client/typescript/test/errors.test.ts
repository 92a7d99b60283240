import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

import { asMetadataError, MetadataError, unknownOutcome } from "../src/errors.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { ErrorReason, OutcomeUnknownSchema } from "../src/index.js";
import { isAboutEndpoint, judge, mayHaveHappened, wasAnswered } from "../src/judgement.js";
import { foreign } from "../src/known.js";
import { failure } from "./fake.js";

const origin = { endpoint: "http://m0:9000", rpc: "GetTable" };

/** What Node.js's fetch throws for an error of the network. */
function fetchFailed(code: string): TypeError {
  const cause = Object.assign(new Error(`told by the network: ${code}`), { code });
  return new TypeError("fetch failed", { cause });
}

// What was thrown; whether another attempt helps, the member has answered, a write may have happened.
const table: [name: string, thrown: unknown, again: boolean, answered: boolean, mayHaveHappened: boolean][] = [
  ["no leader", failure(Code.Unavailable, "NO_LEADER"), true, true, false],
  ["outcome unknown", failure(Code.Unavailable, "OUTCOME_UNKNOWN"), true, true, true],
  ["the service's deadline", failure(Code.DeadlineExceeded, "DEADLINE"), true, true, true],
  ["a limit with a hint", failure(Code.ResourceExhausted, "LIMIT_REACHED", "busy", 100), true, true, false],
  ["a limit without one", failure(Code.ResourceExhausted, "DISK_FULL"), false, true, false],
  ["not found", failure(Code.NotFound, "NOT_FOUND"), false, true, false],
  ["a bug", failure(Code.Internal, "INTERNAL"), false, true, false],
  ["a reason of a newer service", failure(Code.Aborted, "BRAND_NEW" as "INTERNAL"), false, true, false],
  ["a gateway without a service", new ConnectError("HTTP 502", Code.Unavailable), true, true, true],
  ["a proxy without a service", new ConnectError("HTTP 500", Code.Unknown), true, true, true],
  [
    "a page instead of an answer",
    new ConnectError("unsupported content type text/html", Code.Unknown),
    false,
    true,
    true,
  ],
  ["an unknown method", new ConnectError("HTTP 404", Code.Unimplemented), false, true, false],
  ["a refused token", new ConnectError("HTTP 401", Code.Unauthenticated), false, true, false],
  ["an attempt's end", new ConnectError("the operation timed out", Code.DeadlineExceeded), true, false, true],
  ["an answer cut off", ConnectError.from("missing EndStreamResponse"), true, false, true],
  ["a connection that broke", ConnectError.from(fetchFailed("ECONNRESET")), true, false, true],
  ["a connection refused", ConnectError.from(fetchFailed("ECONNREFUSED")), true, false, false],
  ["a fetch that failed in a browser", ConnectError.from(new TypeError("Failed to fetch")), true, false, true],
  ["a certificate that expired", ConnectError.from(fetchFailed("CERT_HAS_EXPIRED")), false, false, false],
  [
    "a certificate of another host",
    ConnectError.from(fetchFailed("ERR_TLS_CERT_ALTNAME_INVALID")),
    false,
    false,
    false,
  ],
];

describe("an error", () => {
  it.each(table)("is judged: %s", (_, thrown, again, answered, happened) => {
    const error = asMetadataError(thrown, origin);
    expect([judge(error).again, wasAnswered(error), mayHaveHappened(error)]).toEqual([again, answered, happened]);
  });

  it.each([
    ["an unknown method", new ConnectError("HTTP 404", Code.Unimplemented), true],
    ["a refused token", new ConnectError("HTTP 401", Code.Unauthenticated), true],
    ["a caller without the right", new ConnectError("HTTP 403", Code.PermissionDenied), true],
    ["a page instead of an answer", new ConnectError("unsupported content type text/html", Code.Unknown), true],
    ["a certificate that expired", ConnectError.from(fetchFailed("CERT_HAS_EXPIRED")), true],
    ["another cluster", foreign("http://m0:9000", "other", "c"), true],
    ["another cluster, in which a write took effect", foreign("http://m0:9000", "other", "c", true), false],
    ["not found", failure(Code.NotFound, "NOT_FOUND"), false],
    ["a bug of the service", failure(Code.Internal, "INTERNAL"), false],
    ["a refusal by the service", failure(Code.PermissionDenied, "NOT_FOUND"), false],
    ["a connection that broke", ConnectError.from(fetchFailed("ECONNRESET")), false],
  ])("is about its endpoint or about the call: %s", (_, thrown, about) => {
    expect(isAboutEndpoint(asMetadataError(thrown, origin))).toBe(about);
  });

  it.each([
    [new ConnectError("HTTP 404", Code.Unimplemented), "http://m0:9000 does not know GetTable (HTTP 404): it is older"],
    [new ConnectError("HTTP 403", Code.PermissionDenied), "refused the caller of GetTable: HTTP 403; see that"],
    [
      ConnectError.from(fetchFailed("ECONNREFUSED")),
      "cannot be reached: fetch failed: told by the network: ECONNREFUSED; see that it runs",
    ],
    [
      ConnectError.from(fetchFailed("SELF_SIGNED_CERT_IN_CHAIN")),
      "shows a certificate that is not trusted: fetch failed: told",
    ],
    [
      ConnectError.from(new TypeError("Failed to fetch")),
      "gave no answer to GetTable: Failed to fetch; see that it runs",
    ],
    [new ConnectError("too late", Code.DeadlineExceeded), "did not answer GetTable in time: too late"],
    ["nonsense", "http://m0:9000 failed GetTable: nonsense"],
  ])("is a sentence: %s", (thrown, text) => {
    expect(asMetadataError(thrown, origin).message).toContain(text);
  });

  it("keeps what the service says, and what it was made of", () => {
    const thrown = failure(Code.NotFound, "NOT_FOUND", 'no table "t"', 250);
    const error = asMetadataError(thrown, origin);
    expect(error).toMatchObject({
      message: 'no table "t"',
      reason: ErrorReason.NOT_FOUND,
      retryDelayMs: 250,
      cause: thrown,
    });
    expect(asMetadataError(error, origin)).toBe(error);
    expect(unknownOutcome("id", 7n, error)).toMatchObject({
      requestId: "id",
      knownRevision: 7n,
      reason: ErrorReason.NOT_FOUND,
      code: Code.NotFound,
      cause: error,
    });
  });

  it("names the request id that the service names", () => {
    const thrown = new ConnectError("lost", Code.Unavailable, undefined, [
      { desc: ErrorInfoSchema, value: { reason: "OUTCOME_UNKNOWN" } },
      { desc: OutcomeUnknownSchema, value: { requestId: "r1" } },
    ]);
    expect(asMetadataError(thrown, origin).requestId).toBe("r1");
  });

  it("has no reason that an object has by itself", () => {
    for (const name of ["toString", "constructor", "4", ""]) {
      expect(asMetadataError(failure(Code.Aborted, name as "INTERNAL"), origin).reason).toBe(ErrorReason.UNSPECIFIED);
    }
  });

  it("may have causes that go in a circle", () => {
    const circle = new Error("round");
    circle.cause = circle;
    expect(asMetadataError(ConnectError.from(circle), origin)).toBeInstanceOf(MetadataError);
  });
});
