/**
 * Clock is the time that a client goes by. It never runs back and knows nothing of the time of
 * day: a machine whose date is wrong has the same deadlines as every other.
 */
export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
  /** Calls back once, after so many milliseconds. What it returns cancels that. */
  after(millis: number, callback: () => void): () => void;
}

/** Random returns numbers from 0 up to, and without, 1. */
export type Random = () => number;

/** systemClock is the clock of the browser or of Node.js. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(millis, callback) {
    const timer = setTimeout(callback, millis);
    return () => clearTimeout(timer);
  },
};

/** Waits; false if the signal came first, or has come before. */
export function sleep(clock: Clock, millis: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) {
    return Promise.resolve(false);
  }
  return new Promise((resolve) => {
    const end = (whole: boolean) => {
      cancel();
      signal.removeEventListener("abort", onAbort);
      resolve(whole);
    };
    const onAbort = () => end(false);
    const cancel = clock.after(millis, () => end(true));
    signal.addEventListener("abort", onAbort);
  });
}
