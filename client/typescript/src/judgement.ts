import { Code, ConnectError } from "@connectrpc/connect";

import { ForeignClusterError, type MetadataError } from "./errors.js";
import { unreached } from "./explanation.js";
import { ErrorReason } from "./gen/heliosdb/metadata/v1/error_pb.js";

/** Judgement is what an error amounts to. */
export interface Judgement {
  /** Another attempt can help. */
  readonly again: boolean;
  /** How long the service asks to wait before it, in milliseconds. */
  readonly waitMs: number;
}

/** Decides whether another attempt can help. */
export function judge(error: MetadataError): Judgement {
  const waitMs = Math.max(0, error.retryDelayMs ?? 0);
  if (unreached(error) === "refused certificate") {
    return { again: false, waitMs };
  }
  switch (error.code) {
    case Code.Unavailable:
    case Code.DeadlineExceeded:
      return { again: true, waitMs };
    case Code.ResourceExhausted:
      return { again: error.retryDelayMs !== undefined, waitMs };
    case Code.Canceled:
    case Code.Unknown:
    case Code.Internal:
      // Connections that break in the middle of an answer; the service's own errors carry a reason.
      return { again: error.reason === ErrorReason.UNSPECIFIED && (broke(error) || ails(error)), waitMs };
    default:
      return { again: false, waitMs };
  }
}

/**
 * Whether an error says what an endpoint is, or takes the caller for, and not what the call is:
 * another one may answer differently, and this one not before something is set right.
 */
export function isAboutEndpoint(error: MetadataError): boolean {
  if (error instanceof ForeignClusterError) {
    return !error.written;
  }
  if (error.reason !== ErrorReason.UNSPECIFIED) {
    return false; // it is the service that has spoken
  }
  if (unreached(error) === "refused certificate") {
    return true;
  }
  switch (error.code) {
    case Code.Unimplemented:
    case Code.Unauthenticated:
    case Code.PermissionDenied:
      return true;
    case Code.Unknown:
    case Code.Internal:
      return !broke(error) && !ails(error);
    default:
      return false;
  }
}

/** Whether an attempt ended with an answer, be it of the service or of somebody in between. */
export function wasAnswered(error: MetadataError): boolean {
  if (error.reason !== ErrorReason.UNSPECIFIED) {
    return true;
  }
  const gaveUp = error.code === Code.DeadlineExceeded || error.code === Code.Canceled;
  return !gaveUp && unreached(error) === undefined && !broke(error);
}

/** Whether an attempt at a write that failed may have taken effect, or may still, nevertheless. */
export function mayHaveHappened(error: MetadataError): boolean {
  switch (error.reason) {
    case ErrorReason.OUTCOME_UNKNOWN:
    case ErrorReason.DEADLINE:
    case ErrorReason.CANCELED:
      return true;
    case ErrorReason.UNSPECIFIED:
      return inconclusive.has(error.code) && !neverSent.has(unreached(error));
    default:
      return false;
  }
}

/** Codes that tell nothing of what was done. The others are refusals, whatever a newer service's reason for them is. */
const inconclusive = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.Canceled,
  Code.Unknown,
  Code.Internal,
  Code.DataLoss,
]);

const neverSent = new Set<unknown>(["refused certificate", "not reached"]);

/**
 * Whether a connection broke: then what was thrown is the cause. Where somebody has answered what
 * is not understood (a page instead of a message, say), there is no cause.
 */
function broke(error: MetadataError): boolean {
  return error.cause instanceof ConnectError && (error.cause.cause !== undefined || error.code === Code.Canceled);
}

/** Whether whoever answers is out of order, as a proxy is whose service is being restarted. */
function ails(error: MetadataError): boolean {
  return error.cause instanceof ConnectError && /^HTTP 5\d\d$/.test(error.cause.rawMessage);
}
