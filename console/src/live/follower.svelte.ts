import { Consistency, ErrorReason, MetadataError, type Change, type Position, type Stream } from "@heliosdb/metadata";

import { sentence } from "../service/sentence.js";
import { session, type Listener } from "./session.svelte.js";

/** How long to wait before what failed is read again. */
const RETRY_MS = 4_000;
/** So often is drawn at most what changes all the time. */
const PUBLISH_MS = 150;

export type Loading = "idle" | "loading" | "ready" | "failed";

/** Page is a part of what is followed. */
export interface Page {
  /** Changes up to here are in it. */
  readonly revision: bigint;
  /** Takes the page's objects in. */
  readonly take: () => void;
}

/** Options of a read whose answer contains what the session has heard of. */
export function sinceSession(): { consistency: Consistency; atLeast?: Position } {
  const atLeast = session.position;
  return atLeast === undefined ? { consistency: Consistency.LINEARIZABLE } : { consistency: Consistency.AT_LEAST, atLeast };
}

/**
 * Follower holds objects of one stream: it reads them in pages once, and carries out on them what
 * the session hears from then on. While pages come, changes wait; those that the pages show
 * already are left out.
 */
export abstract class Follower implements Listener {
  loading = $state<Loading>("idle");
  problem = $state("");

  readonly #stream: Stream;
  #missed: Change[] = [];
  #revision = 0n;
  #attempt = 0;
  #publishing = false;

  constructor(stream: Stream) {
    this.#stream = stream;
    session.listen(this);
  }

  /** Begins to follow, if that has not happened yet. */
  start(): void {
    if (this.loading === "idle") {
      void this.#load(++this.#attempt);
    }
  }

  /** Reads everything again. */
  retry(): void {
    void this.#load(++this.#attempt);
  }

  changed(stream: Stream, changes: readonly Change[]): void {
    if (stream !== this.#stream || this.loading === "idle") {
      return;
    }
    if (this.loading === "ready") {
      this.#carryOut(changes);
    } else {
      this.#missed.push(...changes);
    }
  }

  restarted(): void {
    if (this.loading !== "idle") {
      this.retry();
    }
  }

  /** Forgets all objects. */
  protected abstract clear(): void;
  /** Reads pages, and takes none in itself: reading may have begun anew meanwhile. */
  protected abstract pages(): AsyncGenerator<Page>;
  /** Carries out one change. */
  protected abstract fold(change: Change): void;
  /** Shows what there is now. */
  protected abstract publish(): void;

  async #load(attempt: number): Promise<void> {
    this.loading = "loading";
    this.#missed = [];
    await session.begun();
    if (attempt !== this.#attempt) {
      return;
    }
    this.clear();
    try {
      for await (const { revision, take } of this.pages()) {
        if (attempt !== this.#attempt) {
          return;
        }
        take();
        this.#revision = revision;
        this.publish();
      }
    } catch (error) {
      if (attempt === this.#attempt) {
        this.#failed(error, attempt);
      }
      return;
    }
    this.loading = "ready";
    this.problem = "";
    this.#carryOut(this.#missed);
    this.#missed = [];
    this.publish();
  }

  #failed(error: unknown, attempt: number): void {
    const gone = error instanceof MetadataError && error.reason === ErrorReason.PAGE_REVISION_GONE;
    if (!gone) {
      this.loading = "failed";
      this.problem = sentence(error);
    }
    const again = () => attempt === this.#attempt && this.retry();
    setTimeout(again, gone ? 0 : RETRY_MS);
  }

  #carryOut(changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.revision > this.#revision) {
        this.fold(change);
        this.#revision = change.revision;
      }
    }
    if (!this.#publishing) {
      this.#publishing = true;
      setTimeout(() => {
        this.#publishing = false;
        this.publish();
      }, PUBLISH_MS);
    }
  }
}
