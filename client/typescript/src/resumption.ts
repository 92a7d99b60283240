import { clone, create } from "@bufbuild/protobuf";

import { ErrorReason } from "./gen/heliosdb/metadata/v1/error_pb.js";
import { Stream, PositionSchema, type Position } from "./gen/heliosdb/metadata/v1/position_pb.js";
import {
  ResetSchema,
  SubscribeRequestSchema,
  type Bookmark,
  type Changes,
  type SubscribeRequest,
  type SubscribeResponse,
} from "./gen/heliosdb/metadata/v1/subscription_pb.js";
import type { Judgement } from "./judgement.js";
import { larger, revisionOf, setRevision, STREAMS } from "./positions.js";

/** Frame is one part of a subscription: look at its case. */
export type Frame = Exclude<SubscribeResponse["frame"], { case: undefined }>;

/** The reason of the reset with which a watch begins a snapshot anew. */
export const SNAPSHOT_INTERRUPTED = "SNAPSHOT_INTERRUPTED";

/**
 * Bounds the streams whose revisions are remembered beside those known here: a newer service may
 * have more. Changes of further ones are handed on as they come.
 */
const MAX_STREAMS = 16;

/**
 * Resumption is what a subscriber has seen, and how to go on from there: a step machine without
 * clock or network. Frames and errors come in, requests come out. It trusts no member: whatever
 * frames come, it hands on no change twice and none out of order.
 */
export class Resumption {
  /** As the caller made it. */
  readonly #request: SubscribeRequest;
  /** How many members can be asked. */
  readonly #members: number;
  /** That of the last bookmark; undefined: resuming is not possible yet. */
  #position: Position | undefined;
  /** The revision up to which each stream was handed on; a stream without one is at its beginning, or in a snapshot. */
  readonly #seen = new Map<Stream, bigint>();
  /** A snapshot has begun, and no bookmark has followed yet. */
  #partial = false;
  /** Nothing came since the caller was told that a snapshot begins again. */
  #announced = false;
  /** Answers in a row that the position lies in the future. */
  #lagging = 0;
  /** The service said that it cannot resume. */
  #lost = false;

  constructor(request: SubscribeRequest, members: number) {
    this.#request = clone(SubscribeRequestSchema, request);
    this.#members = members;
    if (this.#request.start.case === "after") {
      this.#position = clone(PositionSchema, this.#request.start.value);
      for (const stream of STREAMS) {
        this.#seen.set(stream, revisionOf(this.#position, stream));
      }
    }
  }

  /** The position up to which everything was handed on; undefined while there is none. */
  get position(): Position | undefined {
    if (this.#partial || this.#position === undefined) {
      return undefined;
    }
    const reached = clone(PositionSchema, this.#position);
    for (const [stream, revision] of this.#seen) {
      setRevision(reached, stream, larger(revision, revisionOf(reached, stream)));
    }
    return reached;
  }

  /** Returns the request of the next session. */
  next(): SubscribeRequest {
    const request = clone(SubscribeRequestSchema, this.#request);
    const after = this.position;
    if (this.#partial) {
      // Resuming would leave out the rest of the snapshot.
      request.start = { case: "snapshot", value: true };
    } else if (after !== undefined) {
      request.start = { case: "after", value: after };
      // A member that cannot resume has to say so first: another one may be able to, and a
      // snapshot of a member that is behind would lead back in time.
      request.failOnGap ||= !this.#lost;
    }
    return request;
  }

  /** Notes why a session ended, and decides whether there is a next one and how long to wait before. */
  broke(reason: ErrorReason, judgement: Judgement): Judgement {
    if (this.#position === undefined || this.#partial || this.#lost) {
      return judgement;
    }
    switch (reason) {
      case ErrorReason.FUTURE_REVISION:
        if (++this.#lagging < this.#members) {
          return { again: true, waitMs: 0 };
        }
        break;
      case ErrorReason.HISTORY_TRIMMED:
      case ErrorReason.FOREIGN_POSITION:
        break;
      default:
        return judgement;
    }
    this.#lost = true;
    return { again: !this.#request.failOnGap, waitMs: 0 };
  }

  /** Returns the frame that the caller has to see before the next session, if any: a snapshot begins again. */
  announce(): Frame | undefined {
    if (!this.#partial || this.#announced) {
      return undefined;
    }
    this.#seen.clear();
    this.#position = undefined;
    this.#announced = true;
    return { case: "reset", value: create(ResetSchema, { reason: SNAPSHOT_INTERRUPTED }) };
  }

  /** Notes a frame and returns what of it is new to the caller; undefined: nothing. It may change the frame. */
  see(frame: SubscribeResponse["frame"]): Frame | undefined {
    this.#lagging = 0;
    this.#lost = this.#announced = false;
    switch (frame.case) {
      case "reset":
        this.#reset(frame.value.stream);
        return frame;
      case "snapshot":
        this.#partial = true;
        if (frame.value.last) {
          this.#note(frame.value.stream, frame.value.revision);
        }
        return frame;
      case "changes":
        return this.#seeChanges(frame.value) ? frame : undefined;
      case "bookmark":
        this.#seeBookmark(frame.value);
        return frame;
      default:
        // A newer service has kinds of frames that are not known here: a sign of life.
        return undefined;
    }
  }

  #reset(stream: Stream): void {
    this.#partial = true;
    if (stream !== Stream.UNSPECIFIED) {
      this.#seen.delete(stream);
      return;
    }
    this.#seen.clear();
    this.#position = undefined;
  }

  /** Remembers up to which revision a stream was handed on. */
  #note(stream: Stream, revision: bigint): void {
    const known = this.#seen.has(stream) || (STREAMS as readonly Stream[]).includes(stream);
    if (known || this.#seen.size < MAX_STREAMS) {
      this.#seen.set(stream, revision);
    }
  }

  /** Leaves out what the caller has seen already, and what is out of order; false: nothing is left. */
  #seeChanges(frame: Changes): boolean {
    let last = this.#seen.get(frame.stream) ?? 0n;
    frame.changes = frame.changes.filter(({ revision }) => {
      const isNew = revision > last;
      last = isNew ? revision : last;
      return isNew;
    });
    if (frame.changes.length === 0) {
      return false;
    }
    this.#note(frame.stream, last);
    return true;
  }

  /** Notes the position, which never says less than was seen. */
  #seeBookmark(frame: Bookmark): void {
    const position = (frame.position ??= create(PositionSchema));
    for (const stream of STREAMS) {
      const revision = larger(this.#seen.get(stream) ?? 0n, revisionOf(position, stream));
      setRevision(position, stream, revision);
      this.#seen.set(stream, revision);
    }
    this.#position = clone(PositionSchema, position);
    this.#partial = false;
  }
}
