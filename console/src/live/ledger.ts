import type { Stream } from "@heliosdb/metadata";

/** What a Ledger has to know of a change. */
export interface Line {
  readonly stream: Stream;
  readonly revision: bigint;
  readonly time: { readonly seconds: bigint; readonly nanos: number } | undefined;
}

/** How far back a stream was read. */
interface Past<L> {
  /** For the next page; empty: none was read yet, or that was the last one. */
  token: string;
  begun: boolean;
  end: boolean;
  /** The oldest change that was read. */
  oldest: L | undefined;
}

/**
 * Ledger is the changes of several streams in one list, newest first. Each stream is read back page
 * by page, and pages reach back differently far: what is older than where another stream's pages
 * end is held back, so that nothing is missing in the middle.
 */
export class Ledger<L extends Line> {
  readonly #limit: number;
  readonly #pasts: Map<Stream, Past<L>>;
  readonly #lines = new Map<string, L>();

  /** Keeps so many changes of all streams together; the oldest ones are forgotten first. */
  constructor(streams: readonly Stream[], limit: number) {
    this.#limit = limit;
    this.#pasts = new Map(streams.map((stream) => [stream, { token: "", begun: false, end: false, oldest: undefined }]));
  }

  /** Adds a change that has just happened. */
  hear(line: L): void {
    this.#lines.set(`${line.stream}-${line.revision}`, line);
  }

  /** Adds a page of a stream's older changes, which come newest first. */
  turn(stream: Stream, lines: readonly L[], nextToken: string): void {
    const past = this.#pasts.get(stream);
    if (past !== undefined) {
      lines.forEach((line) => this.hear(line));
      past.begun = true;
      past.token = nextToken;
      past.end = nextToken === "";
      past.oldest = lines.at(-1) ?? past.oldest;
    }
  }

  /** The token of a stream's next page. */
  token(stream: Stream): string {
    return this.#pasts.get(stream)?.token ?? "";
  }

  /** Whether nothing was read yet of a stream. */
  get unread(): boolean {
    return [...this.#pasts.values()].some(({ begun }) => !begun);
  }

  /** The streams of which to read a page to see further back: of one stream, or of all together. */
  next(only?: Stream): Stream[] {
    if (this.full) {
      return [];
    }
    const open = [...this.#pasts].filter(([stream, { end }]) => !end && (only === undefined || stream === only));
    const first = open.filter(([, { oldest }]) => oldest === undefined);
    const least = open.find(([, { oldest }]) => oldest !== undefined && oldest === this.#horizon(only));
    return (first.length > 0 ? first : least === undefined ? [] : [least]).map(([stream]) => stream);
  }

  /** The newest revision of each stream that is known. */
  newest(): Map<Stream, bigint> {
    const newest = new Map<Stream, bigint>();
    for (const { stream, revision } of this.#lines.values()) {
      newest.set(stream, revision > (newest.get(stream) ?? 0n) ? revision : (newest.get(stream) ?? 0n));
    }
    return newest;
  }

  /** Whether as many changes are kept as can be. */
  get full(): boolean {
    return this.#lines.size >= this.#limit;
  }

  /** Returns the changes of one stream, or of all together, without those whose time is not complete. */
  lines(only?: Stream): L[] {
    const sorted = [...this.#lines.values()].sort(newestFirst);
    for (const { stream, revision } of sorted.splice(this.#limit)) {
      this.#lines.delete(`${stream}-${revision}`);
    }
    const horizon = this.#horizon(only);
    return sorted.filter(
      (line) => (only === undefined || line.stream === only) && (horizon === undefined || newestFirst(line, horizon) <= 0),
    );
  }

  /** Where the first of the pages end that have more behind them. */
  #horizon(only?: Stream): L | undefined {
    return [...this.#pasts]
      .flatMap(([stream, { end, oldest }]) => (!end && oldest !== undefined && (only === undefined || stream === only) ? [oldest] : []))
      .sort(newestFirst)[0];
  }
}

/** Orders by the times of the leaders, which never run backwards in a stream, and there by revision. */
function newestFirst(a: Line, b: Line): number {
  if (a.stream === b.stream) {
    return a.revision === b.revision ? 0 : a.revision > b.revision ? -1 : 1;
  }
  return Number((b.time?.seconds ?? 0n) - (a.time?.seconds ?? 0n)) || (b.time?.nanos ?? 0) - (a.time?.nanos ?? 0);
}
