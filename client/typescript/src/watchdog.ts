import { Code } from "@connectrpc/connect";

import type { Clock } from "./clock.js";
import { MetadataError } from "./errors.js";

/** Watchdog breaks a session off in which no message comes in time. */
export class Watchdog {
  readonly #clock: Clock;
  readonly #stop: AbortController;
  readonly #silenceMs: number;
  readonly #what: string;
  #cancel: (() => void) | undefined;

  /** Names what comes in a session for its error: "frame", say. */
  constructor(clock: Clock, stop: AbortController, silenceMs: number, what: string) {
    this.#clock = clock;
    this.#stop = stop;
    this.#silenceMs = silenceMs;
    this.#what = what;
  }

  /** From now on a message has to come in time, or in that longer time. */
  expect(atLeastMs: number): void {
    const millis = Math.max(this.#silenceMs, atLeastMs);
    const late = () => this.#stop.abort(new MetadataError(`no ${this.#what} for ${millis} ms`, Code.Unavailable));
    this.#cancel = this.#clock.after(millis, late);
  }

  /** Nothing is expected. */
  rest(): void {
    this.#cancel?.();
  }
}
