import { Stream, type Change, type Namespace, type TableSchema } from "@heliosdb/metadata";

import { service } from "../service/service.js";
import { effects } from "./effects.js";
import { Follower, sinceSession, type Page } from "./follower.svelte.js";

const PAGE_SIZE = 1_000;
/** Of more tables the page holds the first ones only: each takes about 200 bytes of the browser's memory. */
export const MAX_TABLES = 250_000;

/** Row is what the list shows of a table; the rest is read when somebody looks at it. */
export interface Row {
  readonly id: bigint;
  readonly namespace: string;
  readonly name: string;
  readonly version: bigint;
  readonly columns: number;
  readonly primaryKey: string;
  /** What a search looks into. */
  readonly text: string;
}

/** Tables is the list of all namespaces and tables, as they are now. */
class Tables extends Follower {
  /** Changes with each change of rows, which is one array throughout. */
  version = $state(0);
  /** By name. */
  namespaces = $state.raw<readonly Namespace[]>([]);
  /** How many rows there are. */
  count = $state(0);
  /** There are more than MAX_TABLES. */
  cut = $state(false);
  /** By namespace and name. */
  readonly rows: Row[] = [];

  readonly #byId = new Map<bigint, Row>();
  readonly #namespaces = new Map<string, Namespace>();

  constructor() {
    super(Stream.SCHEMA);
  }

  protected clear(): void {
    this.rows.length = 0;
    this.#byId.clear();
    this.#namespaces.clear();
    this.cut = false;
  }

  protected async *pages(): AsyncGenerator<Page> {
    const read = sinceSession();
    const listed = await service().metadata.listNamespaces({ pageSize: PAGE_SIZE, read });
    // What changes from here on is carried out; that the tables' pages show some of it already, does no harm.
    const revision = listed.position?.schemaRevision ?? 0n;
    yield { revision, take: () => listed.namespaces.forEach((namespace) => this.#namespaces.set(namespace.name, namespace)) };
    for (let pageToken = ""; this.rows.length < MAX_TABLES; ) {
      const page = await service().metadata.listTables({ pageSize: PAGE_SIZE, pageToken, read });
      yield { revision, take: () => page.tables.forEach((table) => this.#append(table)) };
      pageToken = page.nextPageToken;
      if (pageToken === "") {
        return;
      }
    }
    this.cut = true;
  }

  protected fold(change: Change): void {
    for (const event of change.events) {
      for (const { kind, object, gone } of effects(event)) {
        if (kind === "namespace") {
          this.#namespaces.delete(object.name);
          if (!gone) {
            this.#namespaces.set(object.name, object);
          }
        } else if (kind === "table") {
          this.#replace(object, gone);
        }
      }
    }
  }

  protected publish(): void {
    this.namespaces = [...this.#namespaces.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    this.count = this.rows.length;
    this.version++;
  }

  /** Pages come in the order of rows. */
  #append(table: TableSchema): void {
    const row = rowOf(table);
    this.rows.push(row);
    this.#byId.set(row.id, row);
  }

  #replace(table: TableSchema, gone: boolean): void {
    const old = this.#byId.get(table.tableId);
    if (old !== undefined && old.version > table.version) {
      return; // the pages have shown a later one
    }
    if (old !== undefined) {
      this.rows.splice(this.#place(old), 1);
      this.#byId.delete(old.id);
    }
    if (!gone && this.rows.length < MAX_TABLES) {
      const row = rowOf(table);
      this.rows.splice(this.#place(row), 0, row);
      this.#byId.set(row.id, row);
    }
  }

  /** The index of the row, or where it would be. */
  #place(row: Row): number {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const there = this.rows[middle];
      if (there !== undefined && compare(there, row) < 0) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}

function rowOf(table: TableSchema): Row {
  return {
    id: table.tableId,
    namespace: table.namespace,
    name: table.name,
    version: table.version,
    columns: table.columns.length,
    primaryKey: table.primaryKey.join(", "),
    text: `${table.namespace}.${table.name}`.toLowerCase(),
  };
}

function compare(a: Row, b: Row): number {
  return order(a.namespace, b.namespace) || order(a.name, b.name);
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export const tables = new Tables();
