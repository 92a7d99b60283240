import type { MemberStatus, Stream } from "@heliosdb/metadata";

/** Totals are what the member has counted since its start. */
export interface Totals {
  /** Calls that have ended. */
  readonly calls: number;
  /** Those of them that failed. */
  readonly errors: number;
  /** Messages sent on streams. */
  readonly messages: number;
}

/** Outcomes that are nobody's fault: streams end when their reader leaves. */
const FINE = /code="(?:ok|not_modified|canceled)"/;

/** Reads the totals from Prometheus' text format; other series are passed over. */
export function parseTotals(text: string): Totals {
  const totals = { calls: 0, errors: 0, messages: 0 };
  const series = /^heliosmeta_(rpc_handled|rpc_stream_messages_sent)_total\{([^}]*)\} (\S+)$/gm;
  for (const [, name, labels = "", value = ""] of text.matchAll(series)) {
    const count = Number(value);
    if (!Number.isFinite(count)) {
      continue;
    }
    if (name === "rpc_handled") {
      totals.calls += count;
      totals.errors += FINE.test(labels) ? 0 : count;
    } else {
      totals.messages += count;
    }
  }
  return totals;
}

/** The newest revision of a stream that members tell of; undefined: none does. */
export function newestRevision(members: readonly Pick<MemberStatus, "streams">[], stream: Stream): bigint | undefined {
  const revisions = members.flatMap(({ streams }) => streams.filter((its) => its.stream === stream).map(({ revision }) => revision));
  return revisions.length === 0 ? undefined : revisions.reduce((newest, revision) => (revision > newest ? revision : newest));
}
