import { Stream, type Change } from "@heliosdb/metadata";

import { sentence } from "../service/sentence.js";
import { service } from "../service/service.js";
import { changeNames, changeObjects, eventObject } from "../text/events.js";
import { session, type Listener } from "./session.svelte.js";

/** So many changes are kept; the oldest ones are forgotten first. */
export const MAX_ENTRIES = 5_000;
/** So many are read of each stream at a time. */
const PAGE_SIZE = 100;
const PUBLISH_MS = 150;
const RETRY_MS = 4_000;

/** So many events of a change are looked into by the filter: a change may have thousands. */
const MAX_SEARCHED = 50;

/** Entry is what the list shows of a change. Changes themselves are not kept: one may have megabytes. */
export interface Entry {
  readonly key: string;
  readonly stream: Stream;
  readonly revision: bigint;
  readonly time: Change["time"];
  readonly actor: string;
  /** The kinds of its events. */
  readonly names: readonly string[];
  /** What it is about, on one line. */
  readonly objects: string;
  /** What the filter looks into. */
  readonly text: string;
}

function entryOf(stream: Stream, change: Change): Entry {
  const names = changeNames(change);
  const { revision, time, actor, requestId, events } = change;
  const searched = [actor, requestId, ...names, ...events.slice(0, MAX_SEARCHED).map(eventObject)];
  return { key: `${stream}-${revision}`, stream, revision, time, actor, names, objects: changeObjects(change), text: searched.join("\n").toLowerCase() };
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
    const pasts = this.#pasts;
    try {
      for (const past of pasts) {
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
    if (pasts !== this.#pasts) {
      await this.older(); // it has begun anew meanwhile
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
    const entry = entryOf(stream, change);
    this.#byKey.set(entry.key, entry);
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
    return a.revision > b.revision ? -1 : 1;
  }
  return Number((b.time?.seconds ?? 0n) - (a.time?.seconds ?? 0n)) || (b.time?.nanos ?? 0) - (a.time?.nanos ?? 0);
}

export const changes = new Changes();
