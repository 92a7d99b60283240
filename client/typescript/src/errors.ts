import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ErrorReason, OutcomeUnknownSchema } from "./gen/heliosdb/metadata/v1/error_pb.js";
import { explain } from "./explanation.js";

/** FieldViolation is what is wrong with a field of a request. */
export interface FieldViolation {
  /** Path of the field, in the contract's names, such as "table.columns[0].name". */
  readonly field: string;
  readonly description: string;
}

/** Origin is the call that an error comes from. */
export interface Origin {
  /** The endpoint that was asked. */
  readonly endpoint: string;
  /** The name of the rpc, such as "GetTable". */
  readonly rpc: string;
}

interface Details {
  readonly reason?: ErrorReason;
  readonly values?: Readonly<Record<string, string>>;
  readonly fieldViolations?: readonly FieldViolation[];
  readonly retryDelayMs?: number | undefined;
  readonly requestId?: string | undefined;
  readonly knownRevision?: bigint;
  readonly cause?: unknown;
}

/**
 * MetadataError is every error of this package but for those of bad options (TypeError,
 * RangeError). Its message is a sentence for people: what went wrong, with which value, what to
 * do. Programs look at reason and code, or ask {@link isNotFound} and its like.
 */
export class MetadataError extends Error {
  override readonly name = "MetadataError";
  /** What kind of error it is. */
  readonly code: Code;
  /** Why the call failed; UNSPECIFIED if the service did not say, say because nobody was reached. */
  readonly reason: ErrorReason;
  /** Values that the error names, such as the limit reached. */
  readonly values: Readonly<Record<string, string>>;
  /** What is wrong with which field of the request. */
  readonly fieldViolations: readonly FieldViolation[];
  /** How long the service asks to wait before another attempt, in milliseconds. */
  readonly retryDelayMs: number | undefined;
  /**
   * Set if a write may or may not have taken effect. Make it again with this request id and
   * knownRevision, on any member, to learn which: it takes effect once at most.
   */
  readonly requestId: string | undefined;
  /**
   * Belongs to requestId: how old the id is, for the write options of the repeat. With it a service
   * that has forgotten the id, because much was written meanwhile, says so instead of writing
   * again. 0: that is not known; repeat the write within minutes, or look first.
   */
  readonly knownRevision: bigint;

  constructor(message: string, code: Code, details: Details = {}) {
    super(message, { cause: details.cause });
    this.code = code;
    this.reason = details.reason ?? ErrorReason.UNSPECIFIED;
    this.values = details.values ?? {};
    this.fieldViolations = details.fieldViolations ?? [];
    this.retryDelayMs = details.retryDelayMs;
    this.requestId = details.requestId;
    this.knownRevision = details.knownRevision ?? 0n;
  }
}

/**
 * ForeignClusterError says that an endpoint is of another cluster than the client is for. A member
 * refuses such a call, and nothing was done; one of an older version carries it out, as its answer
 * shows. Its reason is FOREIGN_CLUSTER.
 */
export class ForeignClusterError extends MetadataError {
  /** The endpoint that was asked, and the id of its cluster. */
  readonly endpoint: string;
  readonly clusterId: string;
  /** The call was a write, which took effect there. */
  readonly written: boolean;

  constructor(message: string, endpoint: string, clusterId: string, written = false, cause?: unknown) {
    const values = { cluster_id: clusterId, written: String(written) };
    super(message, Code.FailedPrecondition, { reason: ErrorReason.FOREIGN_CLUSTER, values, cause });
    this.endpoint = endpoint;
    this.clusterId = clusterId;
    this.written = written;
  }
}

/** Makes a MetadataError of whatever a transport has thrown. */
export function asMetadataError(thrown: unknown, origin: Origin): MetadataError {
  if (thrown instanceof MetadataError) {
    return thrown;
  }
  const error = ConnectError.from(thrown);
  const [info] = error.findDetails(ErrorInfoSchema);
  const [bad] = error.findDetails(BadRequestSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  const [unknown] = error.findDetails(OutcomeUnknownSchema);
  const reason = reasonNamed(info?.reason);
  if (reason === ErrorReason.FOREIGN_CLUSTER) {
    const its = info?.metadata["cluster_id"] ?? "";
    return new ForeignClusterError(`${origin.endpoint}: ${error.rawMessage}`, origin.endpoint, its, false, error);
  }
  const text = reason === ErrorReason.UNSPECIFIED ? explain(error, origin) : error.rawMessage;
  return new MetadataError(text, error.code, {
    reason,
    values: info?.metadata ?? {},
    fieldViolations: (bad?.fieldViolations ?? []).map(({ field, description }) => ({ field, description })),
    retryDelayMs: retry?.retryDelay && Number(retry.retryDelay.seconds) * 1000 + retry.retryDelay.nanos / 1e6,
    requestId: unknown?.requestId,
    cause: error,
  });
}

/** A newer service may have reasons that are not known here. */
function reasonNamed(name: string | undefined): ErrorReason {
  const reason: unknown = ErrorReason[name as keyof typeof ErrorReason];
  return typeof reason === "number" ? reason : ErrorReason.UNSPECIFIED;
}

/** The caller or the client itself has ended the call. */
export function canceled(signal: AbortSignal, rpc: string): MetadataError {
  const cause: unknown = signal.reason;
  return cause instanceof MetadataError
    ? cause
    : new MetadataError(`${rpc}: the caller gave up`, Code.Canceled, { cause });
}

/** A write with an attempt that nobody answered. The cause is what ended the last one. */
export function unknownOutcome(requestId: string, knownRevision: bigint, cause: MetadataError): MetadataError {
  const known = knownRevision > 0n ? ` and known revision ${knownRevision}` : "";
  return new MetadataError(
    `an attempt was not answered, and whether the write took effect is unknown; make it again with request id ${requestId}${known} to learn it: ${cause.message}`,
    cause.code,
    { ...cause, requestId, knownRevision, cause },
  );
}

/** Reports whether the namespace, table, node, shard or consumer does not exist. */
export function isNotFound(error: unknown): error is MetadataError {
  return error instanceof MetadataError && error.code === Code.NotFound;
}

/** Reports whether a name or id is taken. */
export function isAlreadyExists(error: unknown): error is MetadataError {
  return error instanceof MetadataError && error.code === Code.AlreadyExists;
}

/** Reports whether an expected version was not met: read the object again and decide anew. */
export function isVersionMismatch(error: unknown): error is MetadataError {
  return error instanceof MetadataError && error.reason === ErrorReason.VERSION_MISMATCH;
}

/** Reports whether the request breaks a rule; fieldViolations says which. */
export function isInvalid(error: unknown): error is MetadataError {
  return error instanceof MetadataError && error.code === Code.InvalidArgument;
}

/** Reports whether a node has to register again. */
export function isStaleEpoch(error: unknown): error is MetadataError {
  return error instanceof MetadataError && error.reason === ErrorReason.STALE_EPOCH;
}

/** Reports whether the caller ended the call, by its signal or by closing the client. */
export function isCanceled(error: unknown): error is MetadataError {
  return error instanceof MetadataError && error.code === Code.Canceled;
}

/**
 * Reports whether a write may or may not have taken effect; requestId and knownRevision are what to
 * make it again with. That goes for a write too whose first attempt nobody answered and whose next one was
 * refused: the first may still be on its way. What the other functions say is then about the
 * refusal.
 */
export function isOutcomeUnknown(error: unknown): error is MetadataError & { readonly requestId: string } {
  return error instanceof MetadataError && error.requestId !== undefined;
}
