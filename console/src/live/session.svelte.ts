import { ErrorReason, isCanceled, MetadataError, Stream, type Change, type Frame, type Position } from "@heliosdb/metadata";

import { sentence } from "../service/sentence.js";
import { reconnect, service } from "../service/service.js";
import { Thread } from "./thread.js";

/** A break that is over sooner is nobody's business: proxies cut streams, members are replaced. */
const QUIET_BREAK_MS = 2_500;
/** A hidden page gives its connection back after so long: browsers have six for each host. */
const HIDDEN_MS = 20_000;
/** How long to wait before another attempt after an answer that another one may not change. */
const RETRY_MS = 5_000;
/** So long the page works on frames before it lets the browser draw. */
const SLICE_MS = 12;

/** Listener hears of changes in their order, of each once. */
export interface Listener {
  changed(stream: Stream, changes: readonly Change[]): void;
  /** The thread is lost: what was heard before is worth nothing. */
  restarted(): void;
}

export type Phase = "connecting" | "live" | "interrupted";

/** These say that what came before the break cannot be continued. */
const lost = new Set([
  ErrorReason.HISTORY_TRIMMED,
  ErrorReason.FOREIGN_CLUSTER,
  ErrorReason.FOREIGN_POSITION,
  ErrorReason.FUTURE_REVISION,
]);

/** Beginning is a promise to be kept from outside. */
class Beginning {
  resolve: () => void = () => undefined;
  readonly promise = new Promise<void>((resolve) => (this.resolve = resolve));
}

/** Session is the page's one subscription. It follows from now on, resumes by itself and never ends. */
class Session {
  phase = $state<Phase>("connecting");
  /** Why the page is not live. */
  problem = $state("");
  /** Everything up to here has been heard. */
  position = $state.raw<Position | undefined>();

  readonly #listeners = new Set<Listener>();
  #begun = new Beginning();
  #quiet: ReturnType<typeof setTimeout> | undefined;
  #wake: (() => void) | undefined;
  #slice = performance.now();
  readonly #thread = new Thread();
  /** Whose history comes is to be seen: the page has begun to follow, or to follow again. */
  #unsure = true;

  /** Ends never. */
  async run(): Promise<never> {
    for (;;) {
      const hidden = new AbortController();
      const release = whenHidden(() => hidden.abort());
      try {
        await this.#follow(hidden.signal);
      } catch (error) {
        await this.#broken(error, hidden.signal.aborted);
      } finally {
        release();
      }
    }
  }

  /** Waits until there is a position: what is read from then on is continued by what is heard. */
  begun(): Promise<void> {
    return this.#begun.promise;
  }

  /** Tells the listener of everything from now on. What it returns ends that. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tries again now. */
  retry(): void {
    this.#wake?.();
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const after = this.position;
    const start = after === undefined ? { case: "latest" as const, value: true } : { case: "after" as const, value: after };
    const onBreak = (error: MetadataError) => {
      this.#unsure = true;
      this.#interrupted(error);
    };
    this.#unsure = true;
    for await (const frame of service().watch({ start, failOnGap: true }, { signal, onBreak })) {
      await this.#identify(frame);
      this.#see(frame);
      if (performance.now() - this.#slice > SLICE_MS) {
        await new Promise((resolve) => setTimeout(resolve));
        this.#slice = performance.now();
      }
    }
  }

  /** Throws if what comes is another history than what was heard; if that cannot be seen, it is with the next frame. */
  async #identify(frame: Frame): Promise<void> {
    const reached = this.position ?? (frame.case === "bookmark" ? frame.value.position : undefined);
    if (!this.#unsure || reached === undefined) {
      return;
    }
    try {
      await this.#thread.check(reached);
      this.#unsure = false;
    } catch (error) {
      if (error instanceof MetadataError && lost.has(error.reason)) {
        throw error;
      }
    }
  }

  #see(frame: Frame): void {
    clearTimeout(this.#quiet);
    this.#quiet = undefined;
    this.phase = "live";
    this.problem = "";
    if (frame.case === "bookmark") {
      this.position = frame.value.position;
      this.#begun.resolve();
    } else if (frame.case === "changes") {
      const { stream, changes } = frame.value;
      this.#advance(stream, changes.at(-1)?.revision ?? 0n);
      this.#thread.heard(stream, changes.at(-1));
      for (const listener of this.#listeners) {
        tell(listener, stream, changes);
      }
    }
  }

  /** Moves the position along, as the next bookmark would. */
  #advance(stream: Stream, revision: bigint): void {
    if (this.position === undefined) {
      return;
    }
    const field = stream === Stream.SCHEMA ? "schemaRevision" : "topologyRevision";
    this.position = { ...this.position, [field]: revision };
  }

  #interrupted(error: unknown): void {
    this.problem = sentence(error);
    this.#quiet ??= setTimeout(() => (this.phase = "interrupted"), QUIET_BREAK_MS);
  }

  async #broken(error: unknown, hidden: boolean): Promise<void> {
    if (hidden && isCanceled(error)) {
      await visible();
      return;
    }
    this.#interrupted(error);
    if (error instanceof MetadataError && lost.has(error.reason)) {
      this.#restart();
      await this.#sleep(QUIET_BREAK_MS);
      return;
    }
    this.phase = "interrupted";
    await this.#sleep(RETRY_MS);
  }

  #restart(): void {
    reconnect();
    this.#thread.cut();
    this.position = undefined;
    this.#begun = new Beginning();
    for (const listener of this.#listeners) {
      listener.restarted();
    }
  }

  #sleep(millis: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, millis);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** One that fails has missed these changes and has to begin anew; the others go on. */
function tell(listener: Listener, stream: Stream, changes: readonly Change[]): void {
  try {
    listener.changed(stream, changes);
  } catch (error) {
    reportError(error);
    listener.restarted();
  }
}

/** Calls back once the page has been hidden for a while. What it returns ends that. */
function whenHidden(callback: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = () => {
    clearTimeout(timer);
    timer = document.hidden ? setTimeout(callback, HIDDEN_MS) : undefined;
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}

function visible(): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!document.hidden) {
        document.removeEventListener("visibilitychange", look);
        resolve();
      }
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

export const session = new Session();
