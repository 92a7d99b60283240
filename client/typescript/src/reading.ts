import { clone } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";

import { MetadataError } from "./errors.js";
import { ErrorReason } from "./gen/heliosdb/metadata/v1/error_pb.js";
import {
  StreamChangesRequestSchema,
  type StreamChangesRequest,
  type StreamChangesResponse,
} from "./gen/heliosdb/metadata/v1/history_service_pb.js";
import { Stream } from "./gen/heliosdb/metadata/v1/position_pb.js";
import type { Judgement } from "./judgement.js";
import { foreign } from "./known.js";
import { larger } from "./positions.js";

/** Identity is whose history a member has. */
export interface Identity {
  readonly clusterId: string;
  readonly recoveryEpoch: bigint;
}

/**
 * Reading is what of a StreamChanges was handed on, and how to go on from there: a step machine
 * without clock or network. Messages and errors come in, requests come out.
 */
export class Reading {
  /** For what is still to come. */
  readonly #request: StreamChangesRequest;
  /** How many members can be asked. */
  readonly #members: number;
  /** Whose history it is; undefined before the first session. */
  #history: Identity | undefined;
  /** Everything up to this revision was handed on; undefined: nothing has come yet. */
  #reached: bigint | undefined;
  /** Members in a row that lack what is to follow. */
  #lacking = 0;

  constructor(request: StreamChangesRequest, members: number) {
    this.#request = clone(StreamChangesRequestSchema, request);
    this.#members = members;
  }

  /** The stream that is read. */
  get stream(): Stream {
    return this.#request.selection?.stream ?? Stream.UNSPECIFIED;
  }

  /** Whether it goes on until the caller ends it. */
  get follows(): boolean {
    return this.#request.follow;
  }

  /** Whether the service has said something. */
  get begun(): boolean {
    return this.#reached !== undefined;
  }

  /** Whether all that was asked for was handed on, as far as the request tells. */
  get complete(): boolean {
    const last = this.#request.selection?.lastRevision ?? 0n;
    return last > 0n && this.#reached !== undefined && this.#reached >= last;
  }

  /** Returns the request of the next session. */
  next(): StreamChangesRequest {
    return clone(StreamChangesRequestSchema, this.#request);
  }

  /** Notes whose history a member has; throws if it is another one than those before had. */
  at({ clusterId, recoveryEpoch }: Identity, endpoint: string): void {
    this.#history ??= { clusterId, recoveryEpoch };
    const { clusterId: own, recoveryEpoch: epoch } = this.#history;
    if (clusterId !== own) {
      throw foreign(endpoint, clusterId, own);
    }
    if (recoveryEpoch !== epoch) {
      throw new MetadataError(
        `${endpoint} has the history of recovery epoch ${recoveryEpoch}, and what was read so far is of ${epoch}: the cluster was restored from a backup; read it anew`,
        Code.FailedPrecondition,
        { reason: ErrorReason.FOREIGN_POSITION },
      );
    }
  }

  /** Notes a message, and leaves in it what is new to the caller; false: it brings nothing further. */
  see(message: StreamChangesResponse): boolean {
    const before = this.#reached;
    this.#lacking = 0;
    if (before !== undefined) {
      message.changes = message.changes.filter(({ revision }) => revision > before);
      // What a first message has, the caller knows.
      message.previousDigest = new Uint8Array();
      message.clusterId = "";
      message.recoveryEpoch = 0n;
    }
    const reached = larger(before ?? 0n, message.lookedAtRevision);
    this.#reached = reached;
    if (reached > 0n && this.#request.selection !== undefined) {
      this.#request.selection.firstRevision = reached + 1n;
    }
    return reached !== before;
  }

  /** Decides whether there is a next session, at another member, after one has ended with an error. */
  broke(reason: ErrorReason, judgement: Judgement): Judgement {
    switch (reason) {
      case ErrorReason.HISTORY_GAP:
      case ErrorReason.DAMAGED:
        return { ...judgement, again: ++this.#lacking < this.#members };
      case ErrorReason.FUTURE_REVISION:
        // A member that is behind will have what was seen, unless it was lost by a restore.
        return { ...judgement, again: this.begun };
      default:
        return judgement;
    }
  }

  /** Whether it is worth waiting without end for a member that does not answer so. */
  waits(reason: ErrorReason): boolean {
    return this.#request.follow && this.begun && reason !== ErrorReason.FUTURE_REVISION;
  }
}
