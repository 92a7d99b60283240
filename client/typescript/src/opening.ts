import { Code } from "@connectrpc/connect";

import type { Clock } from "./clock.js";
import { MetadataError } from "./errors.js";

/**
 * Begins something that goes on for longer, such as a stream, if it begins in time. The signal that
 * it is given ends with the caller's, and when the beginning is late; that is the error then.
 */
export async function within<T>(
  clock: Clock,
  millis: number,
  signal: AbortSignal,
  begin: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new MetadataError(`no answer for ${Math.round(millis)} ms`, Code.DeadlineExceeded);
  const stop = new AbortController();
  const onEnd = () => stop.abort(signal.reason);
  signal.addEventListener("abort", onEnd);
  const cancel = clock.after(millis, () => stop.abort(late));
  try {
    return await begin(stop.signal);
  } catch (error) {
    signal.removeEventListener("abort", onEnd);
    throw stop.signal.reason === late ? late : error;
  } finally {
    cancel();
  }
}
