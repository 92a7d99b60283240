import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createRouterTransport,
  type ConnectRouter,
  type Interceptor,
  type ServiceImpl,
  type Transport,
} from "@connectrpc/connect";

import { ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import {
  Client,
  ClusterService,
  ErrorReason,
  HistoryService,
  MetadataService,
  PositionSchema,
  Stream,
  SubscribeResponseSchema,
  type ClientOptions,
  type Clock,
  type Position,
  type SubscribeResponse,
} from "../src/index.js";

/** What a member does in a test; what it does not name is UNIMPLEMENTED. */
export interface Member {
  metadata?: Partial<ServiceImpl<typeof MetadataService>>;
  cluster?: Partial<ServiceImpl<typeof ClusterService>>;
  history?: Partial<ServiceImpl<typeof HistoryService>>;
}

/** A client of members in this process, at http://m0:9000, http://m1:9000 and so on. */
export function clientOf(members: Member[], options: Partial<ClientOptions> = {}): Client {
  const served = new Map(members.map((member, i) => [`http://m${i}:9000`, member]));
  return new Client({
    endpoints: [...served.keys()],
    transport: (url, interceptors) => transportOf(served.get(url) ?? {}, interceptors),
    clock: new FakeClock(),
    random: () => 0.5,
    ...options,
  });
}

function transportOf(member: Member, interceptors: Interceptor[]): Transport {
  const routes = ({ service }: ConnectRouter) => {
    service(MetadataService, member.metadata ?? {});
    service(ClusterService, member.cluster ?? {});
    service(HistoryService, member.history ?? {});
  };
  return createRouterTransport(routes, { transport: { interceptors } });
}

/** An error as the service sends it. */
export function failure(
  code: Code,
  reason: keyof typeof ErrorReason,
  text = "refused",
  retryMs?: number,
): ConnectError {
  const error = new ConnectError(text, code, undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: "metadata.heliosdb", metadata: { limit: "some" } } },
  ]);
  if (retryMs !== undefined) {
    error.details.push({ desc: RetryInfoSchema, value: { retryDelay: { seconds: 0n, nanos: retryMs * 1e6 } } });
  }
  return error;
}

/** Timers that are longer wait for FakeClock.advance. */
const pauseMillis = 2_000;

/** FakeClock is a clock whose pauses are over at once, although time has passed; longer timers wait for a test. */
export class FakeClock implements Clock {
  #now = 1_000;
  readonly #timers = new Set<{ at: number; callback: () => void }>();

  now(): number {
    return this.#now;
  }

  after(millis: number, callback: () => void): () => void {
    const timer = { at: this.#now + millis, callback };
    this.#timers.add(timer);
    if (millis < pauseMillis) {
      setImmediate(() => this.#fire(timer));
    }
    return () => this.#timers.delete(timer);
  }

  advance(millis: number): void {
    const until = this.#now + millis;
    for (const timer of [...this.#timers].filter(({ at }) => at <= until)) {
      this.#fire(timer);
    }
    this.#now = Math.max(this.#now, until);
  }

  #fire(timer: { at: number; callback: () => void }): void {
    if (this.#timers.delete(timer)) {
      this.#now = Math.max(this.#now, timer.at);
      timer.callback();
    }
  }
}

/** A position of cluster "c". */
export function at(schema: number, topology = 0, epoch = 1, clusterId = "c"): Position {
  return create(PositionSchema, {
    clusterId,
    recoveryEpoch: BigInt(epoch),
    schemaRevision: BigInt(schema),
    topologyRevision: BigInt(topology),
  });
}

function frameOf(frame: MessageInitShape<typeof SubscribeResponseSchema>["frame"]): SubscribeResponse {
  return create(SubscribeResponseSchema, { frame: frame ?? { case: undefined } });
}

export function bookmark(position: Position): SubscribeResponse {
  return frameOf({ case: "bookmark", value: { position } });
}

export function reset(stream: Stream, reason: string): SubscribeResponse {
  return frameOf({ case: "reset", value: { stream, reason } });
}

/** Changes of these revisions. */
export function changes(stream: Stream, ...revisions: number[]): SubscribeResponse {
  return frameOf({
    case: "changes",
    value: { stream, changes: revisions.map((revision) => ({ revision: BigInt(revision) })) },
  });
}

/** The last chunk of a stream's snapshot. */
export function snapshot(stream: Stream, revision: number): SubscribeResponse {
  return frameOf({ case: "snapshot", value: { stream, revision: BigInt(revision), last: true } });
}
