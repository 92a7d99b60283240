export { Code } from "@connectrpc/connect";

export { Client, DEFAULT_TIMEOUT_MS, MAX_ENDPOINTS, type ClientOptions, type Protocol } from "./client.js";
export type { Clock, Random } from "./clock.js";
export {
  ForeignClusterError,
  isAlreadyExists,
  isCanceled,
  isInvalid,
  isNotFound,
  isOutcomeUnknown,
  isStaleEpoch,
  isVersionMismatch,
  MetadataError,
  type FieldViolation,
} from "./errors.js";
export * from "./proto.js";
export { SNAPSHOT_INTERRUPTED, type Frame } from "./resumption.js";
export { MAX_TIMEOUT_MS } from "./transport.js";
export type { Retry } from "./tries.js";
export type { WatchOptions } from "./watch.js";
