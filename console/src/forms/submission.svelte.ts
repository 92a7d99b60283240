import { isOutcomeUnknown, isVersionMismatch, MetadataError, type Event, type FieldViolation, type WriteResult } from "@heliosdb/metadata";

import { sentence } from "../service/sentence.js";

/** What a form says of its write beside the fields. */
export interface WriteInit {
  dryRun?: boolean;
  requestId?: string;
  knownRevision?: bigint;
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
  /** Of the attempt that another one has to repeat. */
  #unknown: { readonly requestId: string; readonly knownRevision: bigint } | undefined;
  /** How often the form was changed: an answer says nothing of a form that was changed since. */
  #edits = 0;

  constructor(call: (write: WriteInit) => Promise<A>) {
    this.#call = call;
  }

  /** Forgets what was said of the fields as they were. */
  edited(): void {
    this.#edits++;
    this.preview = undefined;
    this.violations = [];
    this.problem = "";
    this.uncertain = false;
    this.#unknown = undefined;
  }

  /** Asks what the write would do. */
  async ask(): Promise<void> {
    const edits = this.#edits;
    const answer = await this.#attempt("preview", { dryRun: true });
    if (edits === this.#edits) {
      this.preview = answer?.result?.events;
    }
  }

  /** Makes the write; undefined if it failed. */
  async write(): Promise<A | undefined> {
    return this.#attempt("write", { ...this.#unknown });
  }

  async #attempt(busy: "preview" | "write", write: WriteInit): Promise<A | undefined> {
    if (this.busy !== "") {
      return undefined;
    }
    const edits = this.#edits;
    this.busy = busy;
    this.problem = "";
    this.violations = [];
    this.preview = undefined;
    try {
      const answer = await this.#call(write);
      if (busy === "write") {
        this.uncertain = false;
      }
      return answer;
    } catch (error) {
      this.#failed(error, busy === "write" && edits === this.#edits);
      return undefined;
    } finally {
      this.busy = "";
    }
  }

  /** Says what failed; of a write that can be made again as it was, also whether that has to be the same one. */
  #failed(error: unknown, same: boolean): void {
    this.violations = error instanceof Unreadable ? error.violations : error instanceof MetadataError ? error.fieldViolations : [];
    this.problem = sentence(error);
    if (!same) {
      return;
    }
    if (isOutcomeUnknown(error)) {
      const { requestId, knownRevision } = error;
      this.uncertain = true;
      this.#unknown = { requestId, knownRevision };
    } else if (isVersionMismatch(error)) {
      // Versions never come back: an attempt that is still on its way will not be carried out either.
      this.uncertain = false;
      this.#unknown = undefined;
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
