import type { NodeReport } from "@heliosdb/metadata";

import { sentence } from "../service/sentence.js";
import { service } from "../service/service.js";

/** So often nodes' reports are asked for, while the page can be seen. */
const EVERY_MS = 2_000;
const TIMEOUT_MS = 5_000;
/** One call may name so many nodes. */
const MAX_NAMED = 1_000;

/**
 * Reports are what nodes said of themselves in their latest heartbeats. Nobody publishes them, so
 * they are asked for again and again while somebody looks.
 */
export class Reports {
  /** By id; a node that was not heard of is absent. */
  known = $state.raw<ReadonlyMap<string, NodeReport>>(new Map());
  /** The topology's leader, which said so; 0: nobody has yet. */
  leader = $state(0n);
  /** Why the newest answer is missing. */
  problem = $state("");

  /** Asks for some nodes until the function that it returns is called: for an $effect. */
  follow(ids: () => readonly string[]): () => void {
    const end = new AbortController();
    void this.#run(ids, end.signal);
    return () => end.abort();
  }

  async #run(ids: () => readonly string[], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (!document.hidden) {
        await this.#ask(ids(), signal);
      }
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  async #ask(nodeIds: readonly string[], signal: AbortSignal): Promise<void> {
    const known = new Map<string, NodeReport>();
    try {
      for (let i = 0; i < nodeIds.length; i += MAX_NAMED) {
        const some = nodeIds.slice(i, i + MAX_NAMED);
        const answer = await service().cluster.nodeReports({ nodeIds: some }, { timeoutMs: TIMEOUT_MS, signal });
        this.leader = answer.leader;
        answer.reports.forEach((report) => known.set(report.nodeId, report));
      }
      this.known = known;
      this.problem = "";
    } catch (error) {
      if (!signal.aborted) {
        this.known = new Map(); // how busy a node was a while ago says nothing
        this.problem = sentence(error);
      }
    }
  }
}
