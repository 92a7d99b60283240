import type { Random } from "./clock.js";

/** The shortest and the longest pause, in milliseconds, before chance has its part. */
export const MIN_BACKOFF_MS = 5;
export const MAX_BACKOFF_MS = 500;

/** Backoff is pauses that double, each half as long again or as short by chance. */
export class Backoff {
  readonly #random: Random;
  #pause = MIN_BACKOFF_MS;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Returns the next pause in milliseconds. */
  next(): number {
    const pause = this.#pause * (0.5 + this.#random());
    this.#pause = Math.min(2 * this.#pause, MAX_BACKOFF_MS);
    return pause;
  }

  /** Begins again with the shortest pause. */
  reset(): void {
    this.#pause = MIN_BACKOFF_MS;
  }
}
