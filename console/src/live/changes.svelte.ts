import { Stream, type Change } from "@heliosdb/metadata";

import { sentence } from "../service/sentence.js";
import { service } from "../service/service.js";
import { session, type Listener } from "./session.svelte.js";

/** So many changes are kept; the oldest ones are forgotten first. */
export const MAX_ENTRIES = 5_000;
/** So many are read of each stream at a time. */
const PAGE_SIZE = 100;
const PUBLISH_MS = 150;
const RETRY_MS = 4_000;

/** Entry is a change in the list. */
export interface Entry {
  readonly key: string;
  readonly stream: Stream;
  readonly change: Change;
}

/** How far back a stream was read. */
interface Past {
  readonly stream: Stream;
  token: string;
  end: boolean;
}

/** Changes is what happened last in both streams: read once, then heard. */
class Changes implements Listener {
  /** Newest first. */
  entries = $state.raw<readonly Entry[]>([]);
  /** Why older changes are missing. */
  problem = $state("");
  reading = $state(false);
  /** Nothing older is kept by the service, or here. */
  complete = $state(false);

  readonly #byKey = new Map<string, Entry>();
  #pasts: Past[] = [];
  #started = false;
  #publishing = false;

  constructor() {
    session.listen(this);
  }

  start(): void {
    if (!this.#started) {
      this.#started = true;
      void this.#begin();
    }
  }

  /** Reads older changes. */
  async older(): Promise<void> {
    if (this.reading) {
      return;
    }
    this.reading = true;
    try {
      for (const past of this.#pasts) {
        await this.#read(past);
      }
      this.problem = "";
    } catch (error) {
      this.problem = sentence(error);
    } finally {
      this.reading = false;
      this.complete = this.#pasts.every((past) => past.end) || this.#byKey.size >= MAX_ENTRIES;
      this.#publish();
    }
  }

  changed(stream: Stream, changes: readonly Change[]): void {
    for (const change of changes) {
      this.#add(stream, change);
    }
    if (!this.#publishing) {
      this.#publishing = true;
      setTimeout(() => {
        this.#publishing = false;
        this.#publish();
      }, PUBLISH_MS);
    }
  }

  restarted(): void {
    this.#byKey.clear();
    this.#publish();
    if (this.#started) {
      void this.#begin();
    }
  }

  async #begin(): Promise<void> {
    this.#pasts = [Stream.SCHEMA, Stream.TOPOLOGY].map((stream) => ({ stream, token: "", end: false }));
    await session.begun();
    await this.older();
    if (this.problem !== "" && this.#pasts.every((past) => past.token === "")) {
      setTimeout(() => void this.#begin(), RETRY_MS);
    }
  }

  async #read(past: Past): Promise<void> {
    if (past.end) {
      return;
    }
    const { stream, token: pageToken } = past;
    const page = await service().history.readChanges({ selection: { stream }, newestFirst: true, pageSize: PAGE_SIZE, pageToken });
    for (const change of page.changes) {
      this.#add(stream, change);
    }
    past.token = page.nextPageToken;
    past.end = past.token === "";
  }

  #add(stream: Stream, change: Change): void {
    const key = `${stream}-${change.revision}`;
    this.#byKey.set(key, { key, stream, change });
  }

  #publish(): void {
    const sorted = [...this.#byKey.values()].sort(newestFirst);
    for (const { key } of sorted.splice(MAX_ENTRIES)) {
      this.#byKey.delete(key);
    }
    this.entries = sorted;
  }
}

/** Orders by the times of the leaders, which never run backwards in a stream, and there by revision. */
function newestFirst(a: Entry, b: Entry): number {
  if (a.stream === b.stream) {
    return a.change.revision > b.change.revision ? -1 : 1;
  }
  const [x, y] = [a.change.time, b.change.time];
  return Number((y?.seconds ?? 0n) - (x?.seconds ?? 0n)) || (y?.nanos ?? 0) - (x?.nanos ?? 0);
}

export const changes = new Changes();
