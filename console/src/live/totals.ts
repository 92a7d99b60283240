/** Totals are what the member has counted since its start. */
export interface Totals {
  /** Calls that have ended. */
  readonly calls: number;
  /** Those of them that failed. */
  readonly errors: number;
}

/** Outcomes that are nobody's fault: streams end when their reader leaves. */
const FINE = /code="(?:ok|not_modified|canceled)"/;

/** Reads the totals from Prometheus' text format; other series are passed over. */
export function parseTotals(text: string): Totals {
  let calls = 0;
  let errors = 0;
  for (const [, labels = "", value = ""] of text.matchAll(/^heliosmeta_rpc_handled_total\{([^}]*)\} (\S+)$/gm)) {
    const count = Number(value);
    if (Number.isFinite(count)) {
      calls += count;
      errors += FINE.test(labels) ? 0 : count;
    }
  }
  return { calls, errors };
}
