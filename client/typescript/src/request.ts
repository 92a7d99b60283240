import {
  clone,
  create,
  toBinary,
  type DescMessage,
  type DescMethod,
  type Message,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";

import { MetadataError } from "./errors.js";
import { ConsumerService } from "./gen/heliosdb/metadata/v1/consumer_service_pb.js";
import type { ApplyBatchRequest } from "./gen/heliosdb/metadata/v1/metadata_service_pb.js";
import { Consistency, ReadOptionsSchema, Stream, type ReadOptions } from "./gen/heliosdb/metadata/v1/position_pb.js";
import { WriteOptionsSchema, type WriteOptions } from "./gen/heliosdb/metadata/v1/write_pb.js";
import type { Known } from "./known.js";

/** Request is a request as its attempts send it. */
export interface Request<I extends DescMessage> {
  /** The stream whose leader is asked first; UNSPECIFIED: any member. */
  readonly stream: Stream;
  /** Of a write, the same in all attempts; of a read undefined. */
  readonly requestId: string | undefined;
  /** Of a write, the revision that was known when its id was new; 0: not known. */
  readonly knownRevision: bigint;
  /** The position that an AT_LEAST read waits for is the client's own. */
  readonly ownPosition: boolean;
  /** Of a write that may be lost, and of one that only decides. */
  readonly dryRun: boolean;
  /** What the first attempt sends, and each later one. */
  readonly first: MessageShape<I>;
  readonly again: MessageShape<I>;
}

/** Makes a request ready to be sent. What the caller made stays as it is. */
export function prepare<I extends DescMessage>(
  method: DescMethod & { input: I },
  input: MessageInitShape<I>,
  known: Known,
  consistency: Consistency,
): Request<I> {
  const message = encodable(method, input);
  const field = method.input.field;
  if (field["write"]?.message?.typeName === WriteOptionsSchema.typeName) {
    return prepareWrite(method, message, known);
  }
  const plain = {
    stream: streamOf(method, message),
    requestId: undefined,
    knownRevision: 0n,
    ownPosition: false,
    dryRun: false,
  };
  if (field["read"]?.message?.typeName === ReadOptionsSchema.typeName) {
    const read = readOptions((message as { read?: ReadOptions }).read, known, consistency);
    const ownPosition = read.ownPosition;
    const ready = withField(message, { read: read.options });
    return { ...plain, ownPosition, first: ready, again: ready };
  }
  return { ...plain, first: message, again: message };
}

function prepareWrite<I extends DescMessage>(method: DescMethod, message: MessageShape<I>, known: Known): Request<I> {
  const stream = streamOf(method, message);
  const own = (message as { write?: WriteOptions }).write;
  const options = own === undefined ? create(WriteOptionsSchema) : clone(WriteOptionsSchema, own);
  const later = clone(WriteOptionsSchema, options);
  if (options.requestId === "") {
    options.requestId = later.requestId = newRequestId();
    // From the second attempt on the id may have been used; say how old it is, so that a service
    // that has forgotten it says so instead of writing again.
    later.knownRevision ||= known.revision(stream);
  }
  return {
    stream,
    requestId: options.requestId,
    knownRevision: later.knownRevision,
    ownPosition: false,
    dryRun: options.dryRun,
    first: withField(message, { write: options }),
    again: withField(message, { write: later }),
  };
}

/**
 * AT_LEAST without a position waits for what this client has seen; if that is nothing, there is
 * nothing to compare with.
 */
function readOptions(
  own: ReadOptions | undefined,
  known: Known,
  consistency: Consistency,
): { options: ReadOptions; ownPosition: boolean } {
  const options = own === undefined ? create(ReadOptionsSchema) : clone(ReadOptionsSchema, own);
  if (options.consistency === Consistency.UNSPECIFIED) {
    options.consistency = consistency;
  }
  if (options.consistency !== Consistency.AT_LEAST || options.atLeast !== undefined) {
    return { options, ownPosition: false };
  }
  const position = known.position();
  if (position === undefined) {
    options.consistency = Consistency.LINEARIZABLE;
    return { options, ownPosition: false };
  }
  options.atLeast = position;
  return { options, ownPosition: true };
}

/** Names the stream whose leader carries a call out. */
function streamOf(method: DescMethod, message: Message): Stream {
  switch (method.localName) {
    case "createNamespace":
    case "dropNamespace":
    case "createTable":
    case "alterTable":
    case "dropTable":
      return Stream.SCHEMA;
    case "registerNode":
    case "unregisterNode":
    case "drainNode":
    case "updateShardMap":
    case "heartbeat":
      return Stream.TOPOLOGY;
    case "applyBatch":
      return streamOfBatch(message as ApplyBatchRequest);
    default:
      return method.parent.typeName === ConsumerService.typeName && method.input.field["write"] !== undefined
        ? Stream.SERVICE
        : Stream.UNSPECIFIED;
  }
}

function streamOfBatch(batch: ApplyBatchRequest): Stream {
  switch (batch.commands[0]?.command.case) {
    case "registerNode":
    case "unregisterNode":
    case "drainNode":
    case "updateShardMap":
      return Stream.TOPOLOGY;
    default:
      return Stream.SCHEMA;
  }
}

/** Makes a message of what the caller gave, and sees that it can be sent. */
export function encodable<I extends DescMessage>(
  method: DescMethod & { input: I },
  input: MessageInitShape<I>,
): MessageShape<I> {
  try {
    const message = create(method.input, input);
    toBinary(method.input, message);
    return message;
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new MetadataError(`${method.name}: the request cannot be encoded: ${text}`, Code.InvalidArgument, { cause });
  }
}

/** Returns a copy that shares all but the given fields. */
function withField<M extends Message>(message: M, fields: object): M {
  const copy: M = Object.create(Object.getPrototypeOf(message) as object) as M;
  return Object.assign(copy, message, fields);
}

/** Makes a UUID of version 4; crypto.randomUUID is missing from pages that came without TLS. */
function newRequestId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
