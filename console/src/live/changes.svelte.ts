import { Stream, type Change, type Event } from "@heliosdb/metadata";

import { sentence } from "../service/sentence.js";
import { service } from "../service/service.js";
import { changeNames, changeObjects, eventObject } from "../text/events.js";
import { Ledger } from "./ledger.js";
import { session, type Listener } from "./session.svelte.js";

/** So many changes are kept; the oldest ones are forgotten first. */
export const MAX_ENTRIES = 5_000;
/** So many are read of each stream at a time. */
const PAGE_SIZE = 100;
const PUBLISH_MS = 150;
const RETRY_MS = 4_000;

/** So many characters of a change are kept for the filter: a change may have thousands of events. */
export const MAX_SEARCHED = 16_384;

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
  /** The filter does not look into all of it. */
  readonly cut: boolean;
}

function entryOf(stream: Stream, change: Change): Entry {
  const names = changeNames(change);
  const { revision, time, actor, requestId, events } = change;
  const searched = [actor, requestId, ...names];
  let length = 0;
  let looked = 0;
  for (; looked < events.length && length < MAX_SEARCHED; looked++) {
    const object = eventObject(events[looked] as Event);
    searched.push(object);
    length += object.length;
  }
  const text = searched.join("\n").toLowerCase();
  return { key: `${stream}-${revision}`, stream, revision, time, actor, names, objects: changeObjects(change), text, cut: looked < events.length };
}

/** Changes is what happened last in both streams: read once, then heard. */
class Changes implements Listener {
  /** Of both streams, newest first. */
  entries = $state.raw<readonly Entry[]>([]);
  /** Changes when the list begins anew, of another history. */
  generation = $state(0);
  /** Why older changes are missing. */
  problem = $state("");
  reading = $state(false);

  #ledger = $state.raw(newLedger());
  /** Changes with each change of the ledger. */
  #version = $state(0);
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

  /** The changes of one stream, or of both, newest first. */
  of(only?: Stream): readonly Entry[] {
    void this.#version;
    return only === undefined ? this.entries : this.#ledger.lines(only);
  }

  /** Nothing older is kept by the service, or here. */
  complete(only?: Stream): boolean {
    void this.#version;
    return this.#ledger.next(only).length === 0;
  }

  /** The newest revision of each stream. */
  newest(): ReadonlyMap<Stream, bigint> {
    return this.#ledger.newest();
  }

  /** As many are kept as the page keeps. */
  full(): boolean {
    void this.#version;
    return this.#ledger.full;
  }

  /** Reads older changes, of one stream or of both. */
  async older(only?: Stream): Promise<void> {
    if (this.reading) {
      return;
    }
    this.reading = true;
    const ledger = this.#ledger;
    const answers = await Promise.allSettled(ledger.next(only).map((stream) => this.#read(ledger, stream)));
    this.reading = false;
    if (ledger !== this.#ledger) {
      await this.#begin(); // meanwhile
      return;
    }
    const failed = answers.find((answer) => answer.status === "rejected");
    this.problem = failed === undefined ? "" : sentence(failed.reason);
    this.#publish();
    if (ledger.unread) {
      setTimeout(() => ledger === this.#ledger && ledger.unread && void this.older(), RETRY_MS);
    }
  }

  changed(stream: Stream, changes: readonly Change[]): void {
    for (const change of changes) {
      this.#ledger.hear(entryOf(stream, change));
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
    this.#ledger = newLedger();
    this.generation++;
    this.entries = [];
    if (this.#started) {
      void this.#begin();
    }
  }

  async #begin(): Promise<void> {
    await session.begun();
    await this.older();
  }

  async #read(ledger: Ledger<Entry>, stream: Stream): Promise<void> {
    for (;;) {
      const pageToken = ledger.token(stream);
      const page = await service().history.readChanges({ selection: { stream }, newestFirst: true, pageSize: PAGE_SIZE, pageToken });
      ledger.turn(stream, page.changes.map((change) => entryOf(stream, change)), page.nextPageToken);
      if (page.changes.length > 0 || page.nextPageToken === "") {
        return; // a page may be empty without being the last
      }
    }
  }

  #publish(): void {
    if (this.#ledger.unread && this.problem === "") {
      return; // one stream without the other would be half of what happened
    }
    this.entries = this.#ledger.lines();
    this.#version++;
  }
}

function newLedger(): Ledger<Entry> {
  return new Ledger([Stream.SCHEMA, Stream.TOPOLOGY], MAX_ENTRIES);
}

export const changes = new Changes();
