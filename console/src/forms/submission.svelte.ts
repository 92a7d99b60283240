import { isOutcomeUnknown, MetadataError, type Event, type FieldViolation, type WriteResult } from "@heliosdb/metadata";

import { sentence } from "../service/sentence.js";

/** What a form says of its write beside the fields. */
export interface WriteInit {
  dryRun?: boolean;
  requestId?: string;
}

type Answer = { readonly result?: WriteResult | undefined };

/** Unreadable is what cannot even be sent: texts in fields that are not written as they have to be. */
export class Unreadable extends Error {
  readonly violations: FieldViolation[] = [];

  /** Reads a field; undefined, and noted, if what is in it cannot be read. */
  guard<T>(field: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      this.violations.push({ field, description: sentence(error) });
      return undefined;
    }
  }

  throwIfAny(): void {
    if (this.violations.length > 0) {
      this.message = "Not all fields can be read; see what is said at them.";
      throw this;
    }
  }
}

/**
 * Submission is what becomes of a form: what the write would do, what is wrong with which field,
 * whether it was carried out. All rules are the service's own; the form has none.
 */
export class Submission<A extends Answer> {
  busy = $state<"" | "preview" | "write">("");
  problem = $state("");
  violations = $state.raw<readonly FieldViolation[]>([]);
  /** The events that the write would cause; undefined: not asked, or the form was changed since. */
  preview = $state.raw<readonly Event[] | undefined>();
  /** An attempt may have been carried out or not: another one has to be the same write. */
  uncertain = $state(false);

  readonly #call: (write: WriteInit) => Promise<A>;
  #requestId: string | undefined;

  constructor(call: (write: WriteInit) => Promise<A>) {
    this.#call = call;
  }

  /** Forgets what was said of the fields as they were. */
  edited(): void {
    this.preview = undefined;
    this.violations = [];
    this.problem = "";
    this.uncertain = false;
    this.#requestId = undefined;
  }

  /** Asks what the write would do. */
  async ask(): Promise<void> {
    const answer = await this.#attempt("preview", { dryRun: true });
    this.preview = answer?.result?.events;
  }

  /** Makes the write; undefined if it failed. */
  async write(): Promise<A | undefined> {
    return this.#attempt("write", this.#requestId === undefined ? {} : { requestId: this.#requestId });
  }

  async #attempt(busy: "preview" | "write", write: WriteInit): Promise<A | undefined> {
    if (this.busy !== "") {
      return undefined;
    }
    this.busy = busy;
    this.problem = "";
    this.violations = [];
    this.preview = undefined;
    try {
      const answer = await this.#call(write);
      this.uncertain = false;
      return answer;
    } catch (error) {
      this.#failed(error, busy);
      return undefined;
    } finally {
      this.busy = "";
    }
  }

  #failed(error: unknown, busy: "preview" | "write"): void {
    this.violations = error instanceof Unreadable ? error.violations : error instanceof MetadataError ? error.fieldViolations : [];
    this.problem = sentence(error);
    if (busy === "write" && isOutcomeUnknown(error)) {
      this.uncertain = true;
      this.#requestId = error.requestId;
    }
  }

  /** What is wrong with a field, or with what is in it. */
  wrong(field: string): string {
    return this.violations
      .filter(({ field: its }) => its === field || its.startsWith(`${field}.`) || its.startsWith(`${field}[`))
      .map(({ description }) => description)
      .join("; ");
  }
}
