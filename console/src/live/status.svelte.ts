import { Stream, type StatusResponse } from "@heliosdb/metadata";

import { identity } from "../service/identity.svelte.js";
import { sentence } from "../service/sentence.js";
import { service } from "../service/service.js";
import { newestRevision, parseTotals, type Totals } from "./totals.js";

/** So often the service is asked how it does, while the page can be seen. */
const EVERY_MS = 2_000;
const TIMEOUT_MS = 5_000;
/** So many samples are kept: five minutes. */
const MAX_SAMPLES = 150;

/** Sample is what was measured at one moment. Rates are per second; null: not known. */
export interface Sample {
  /** Seconds on the page's own clock, which has nothing to do with the time of day. */
  readonly at: number;
  readonly schema: number | null;
  readonly topology: number | null;
  readonly calls: number | null;
  readonly errors: number | null;
  /** Messages sent on streams. */
  readonly messages: number | null;
  readonly subscribers: number | null;
  readonly lag: number | null;
}

interface Counts {
  readonly at: number;
  readonly schema: bigint | undefined;
  readonly topology: bigint | undefined;
  readonly totals: Totals | undefined;
}

/** Status is what the service says of itself, asked again and again. */
class Status {
  current = $state.raw<StatusResponse | undefined>();
  /** Why the newest answer is missing. */
  problem = $state("");
  /** Why /metrics is missing. */
  metricsProblem = $state("");
  samples = $state.raw<readonly Sample[]>([]);
  /** The member that this page came from, if the one that the page follows now cannot reach it. */
  readonly gone = $derived(this.current?.members.find((member) => !member.reachable && member.apiAddress === location.host));

  #before: Counts | undefined;
  #running = false;

  start(): void {
    if (!this.#running) {
      this.#running = true;
      void this.#run();
    }
  }

  async #run(): Promise<never> {
    for (;;) {
      if (!document.hidden) {
        const [, totals] = await Promise.all([this.#ask(), this.#totals()]);
        this.#measure(totals);
      }
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  async #ask(): Promise<void> {
    try {
      this.current = await service().cluster.status({}, { timeoutMs: TIMEOUT_MS });
      this.problem = "";
    } catch (error) {
      this.problem = sentence(error);
    }
  }

  #measure(totals: Totals | undefined): void {
    const counts: Counts = {
      at: performance.now() / 1000,
      schema: this.#newest(Stream.SCHEMA),
      topology: this.#newest(Stream.TOPOLOGY),
      totals,
    };
    const sample = this.#sample(counts, this.#before);
    this.#before = counts;
    this.samples = [...this.samples, sample].slice(-MAX_SAMPLES);
  }

  /**
   * The newest revision of a stream that a member knows; undefined: nobody says. Not the session's,
   * which stands still while the page is not live.
   */
  #newest(stream: Stream): bigint | undefined {
    return this.problem === "" ? this.current && newestRevision(this.current.members, stream) : undefined;
  }

  async #totals(): Promise<Totals | undefined> {
    try {
      const headers = new Headers();
      identity.sign(headers);
      const answer = await fetch("/metrics", { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!answer.ok) {
        throw new Error(`the answer is ${answer.status}`);
      }
      this.metricsProblem = "";
      return parseTotals(await answer.text());
    } catch (error) {
      this.metricsProblem = `Calls are not shown: /metrics of this address cannot be read (${sentence(error)}). Let it through at the proxy.`;
      return undefined;
    }
  }

  #sample(now: Counts, before: Counts | undefined): Sample {
    const seconds = now.at - (before?.at ?? now.at);
    const rate = (a: number | bigint | undefined, b: number | bigint | undefined) =>
      a === undefined || b === undefined || seconds <= 0 || Number(a) < Number(b) ? null : Number(a) / seconds - Number(b) / seconds;
    const members = this.problem === "" ? this.current?.members : undefined;
    return {
      at: now.at,
      schema: rate(now.schema, before?.schema),
      topology: rate(now.topology, before?.topology),
      calls: rate(now.totals?.calls, before?.totals?.calls),
      errors: rate(now.totals?.errors, before?.totals?.errors),
      messages: rate(now.totals?.messages, before?.totals?.messages),
      subscribers: members?.reduce((sum, member) => sum + member.subscribers, 0) ?? null,
      lag: members?.reduce((most, { streams }) => Math.max(most, ...streams.map(({ lag }) => Number(lag))), 0) ?? null,
    };
  }
}

export const status = new Status();
