import type { NodeCapacity, NodeReport } from "@heliosdb/metadata";

import { formatBytes, formatRate } from "./numbers.js";

/** Use is how much of one thing a node uses. */
export interface Use {
  readonly name: string;
  /** How much that is, such as "1.5 of 4". */
  readonly text: string;
  /** Which part of what it offers, from 0 to 1; undefined: that is not known. */
  readonly part: number | undefined;
}

/** Writes what a node uses of what it offers; nothing if it has not said it. */
export function uses(report: NodeReport | undefined, capacity: NodeCapacity | undefined): Use[] {
  const load = report?.load;
  if (load === undefined) {
    return [];
  }
  const cpus = (millis: bigint) => String(Math.round(Number(millis) / 10) / 100);
  return [
    use("CPUs", load.cpuMillis, capacity?.cpuMillis, cpus),
    use("Memory", load.memoryBytes, capacity?.memoryBytes, formatBytes),
    use("Disk", load.diskBytes, capacity?.diskBytes, formatBytes),
    { name: "Requests/s", text: formatRate(load.requestsPerSecond), part: undefined },
  ];
}

function use(name: string, used: bigint, offered: bigint | undefined, write: (n: bigint) => string): Use {
  if (offered === undefined || offered === 0n) {
    return { name, text: write(used), part: undefined };
  }
  return { name, text: `${write(used)} of ${write(offered)}`, part: Number(used) / Number(offered) };
}

/** Writes a part in percent. */
export function formatPart(part: number): string {
  return `${Math.round(100 * part)} %`;
}
