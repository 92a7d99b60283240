import { isNotFound, type Change, type Stream } from "@heliosdb/metadata";

import { sentence } from "../service/sentence.js";
import { session, type Listener } from "./session.svelte.js";

/** How long to wait before what failed is read again. */
const RETRY_MS = 4_000;
/** Changes that come faster cause one reading for several. */
const GATHER_MS = 200;

/** Reading is one answer that is kept fresh: it is asked for again when a change concerns it. */
export class Reading<T> implements Listener {
  value = $state.raw<T | undefined>();
  /** The object does not exist, or not any more. */
  missing = $state(false);
  problem = $state("");

  readonly #stream: Stream;
  readonly #read: () => Promise<T>;
  readonly #concerned: (change: Change) => boolean;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;
  /** Attempts are numbered: they may be answered in another order than they were made. */
  #attempts = 0;
  /** The number of the one that is shown. */
  #shown = 0;

  constructor(stream: Stream, read: () => Promise<T>, concerned: (change: Change) => boolean) {
    this.#stream = stream;
    this.#read = read;
    this.#concerned = concerned;
  }

  /** Reads and follows until the function that it returns is called: for an $effect. */
  follow(): () => void {
    const stop = session.listen(this);
    void session.begun().then(() => this.again());
    return () => {
      this.#ended = true;
      clearTimeout(this.#timer);
      stop();
    };
  }

  /** Reads again, soon. */
  again(after = 0): void {
    clearTimeout(this.#timer);
    if (!this.#ended) {
      this.#timer = setTimeout(() => void this.#ask(), after);
    }
  }

  changed(stream: Stream, changes: readonly Change[]): void {
    if (stream === this.#stream && changes.some(this.#concerned)) {
      this.again(GATHER_MS);
    }
  }

  restarted(): void {
    this.#shown = this.#attempts; // what is still to come of them is of another history
    void session.begun().then(() => this.again());
  }

  async #ask(): Promise<void> {
    const attempt = ++this.#attempts;
    try {
      const value = await this.#read();
      this.#answered(attempt, () => {
        this.value = value;
        this.missing = false;
        this.problem = "";
      });
    } catch (error) {
      this.#answered(attempt, () => {
        this.missing = isNotFound(error);
        this.problem = this.missing ? "" : sentence(error);
        if (!this.missing) {
          this.again(RETRY_MS);
        }
      });
    }
  }

  /** Shows an answer, unless a later attempt was answered before. */
  #answered(attempt: number, show: () => void): void {
    if (attempt > this.#shown) {
      this.#shown = attempt;
      show();
    }
  }
}
