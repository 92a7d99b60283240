import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  Code,
  createClient,
  type Client as ServiceClient,
  type Interceptor,
  type Transport,
} from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

import { systemClock, type Clock, type Random } from "./clock.js";
import { Endpoint, parseEndpoint } from "./endpoint.js";
import { MetadataError } from "./errors.js";
import { ClusterService } from "./gen/heliosdb/metadata/v1/cluster_service_pb.js";
import { ConsumerService } from "./gen/heliosdb/metadata/v1/consumer_service_pb.js";
import { HistoryService } from "./gen/heliosdb/metadata/v1/history_service_pb.js";
import { MetadataService } from "./gen/heliosdb/metadata/v1/metadata_service_pb.js";
import { Consistency, type Position } from "./gen/heliosdb/metadata/v1/position_pb.js";
import type { SubscribeRequestSchema } from "./gen/heliosdb/metadata/v1/subscription_pb.js";
import { Known } from "./known.js";
import { Life } from "./life.js";
import { Pool } from "./pool.js";
import type { Frame } from "./resumption.js";
import { MAX_TIMEOUT_MS, ServiceTransport } from "./transport.js";
import type { Retry, Shared } from "./tries.js";
import { watch, type WatchOptions } from "./watch.js";

/** How long a call may take that names no timeout, retries included, in milliseconds. */
export const DEFAULT_TIMEOUT_MS = 10_000;
/** The most endpoints that a client takes. */
export const MAX_ENDPOINTS = 64;

/** Protocol is what is spoken over HTTP. */
export type Protocol = "connect" | "grpc-web";

/** ClientOptions configure a Client. Endpoints are required. */
export interface ClientOptions {
  /**
   * Base URLs of members, such as "http://127.0.0.1:9000". Name several; the client moves on when
   * one does not answer.
   */
  readonly endpoints: readonly string[];
  /** What is spoken over HTTP; "connect" unless it is said. */
  readonly protocol?: Protocol;
  /** How long a call may take that names no timeout, retries included, in milliseconds; DEFAULT_TIMEOUT_MS. */
  readonly timeoutMs?: number;
  /**
   * How fresh a read has to be that does not say; LINEARIZABLE. With AT_LEAST it shows at least
   * what this client has seen.
   */
  readonly consistency?: Consistency;
  /**
   * The cluster that the client is for, as `heliosmeta status` shows its id; the one of the first
   * answer unless it is said. Members of another one refuse its calls.
   */
  readonly clusterId?: string;
  /** Names the caller in the history where its certificate does not. */
  readonly actor?: string;
  /** Connect's interceptors, around each attempt: to send a token, say. */
  readonly interceptors?: readonly Interceptor[];
  /** Is told of each attempt of a call that failed and is followed by another one. */
  readonly onRetry?: (retry: Retry) => void;
  /** Makes the transport to an endpoint, instead of protocol: for Node.js's HTTP/2, or for tests. */
  readonly transport?: (baseUrl: string, interceptors: Interceptor[]) => Transport;
  /** Time and chance, for tests. */
  readonly clock?: Clock;
  readonly random?: Random;
}

/**
 * Client calls the service. Each of its fields has the methods of one service of the contract, as
 * Connect generates them; each call has several endpoints, a deadline, retries that are safe
 * because every write carries a request id, and errors that say why (MetadataError).
 *
 * A Client does not connect before the first call. It reads its own writes: a read is
 * LINEARIZABLE unless it says otherwise, and one that is AT_LEAST without a position waits for the
 * highest one that this client has seen. The calls of one client may run at the same time.
 */
export class Client {
  /** Namespaces, tables, nodes, shards. Prefer watch to its subscribe, which does not resume. */
  readonly metadata: ServiceClient<typeof MetadataService>;
  /** The state of the service itself. */
  readonly cluster: ServiceClient<typeof ClusterService>;
  /** What was: changes, models as they were, differences. */
  readonly history: ServiceClient<typeof HistoryService>;
  /** Named consumers, whose positions the service keeps. */
  readonly consumers: ServiceClient<typeof ConsumerService>;

  readonly #shared: Shared;

  /** Throws a TypeError or a RangeError if an option makes no sense. */
  constructor(options: ClientOptions) {
    const { clusterId = "" } = options;
    if (clusterId !== "" && !CLUSTER_ID.test(clusterId)) {
      throw new TypeError(`clusterId is ${JSON.stringify(clusterId)}; it has to be 32 hexadecimal digits`);
    }
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    if (!(timeoutMs > 0 && timeoutMs <= MAX_TIMEOUT_MS)) {
      throw new RangeError(
        `timeoutMs is ${timeoutMs}; it has to be above 0 and at most MAX_TIMEOUT_MS, ${MAX_TIMEOUT_MS}`,
      );
    }
    const clock = options.clock ?? systemClock;
    const life = new Life();
    const known = new Known(clock, clusterId.toLowerCase());
    this.#shared = {
      pool: new Pool(endpointsOf(options, known), clock, life),
      known,
      clock,
      random: options.random ?? Math.random,
      life,
      onRetry: options.onRetry,
    };
    const consistency = options.consistency ?? Consistency.LINEARIZABLE;
    const transport = new ServiceTransport(this.#shared, { timeoutMs, consistency });
    this.metadata = createClient(MetadataService, transport);
    this.cluster = createClient(ClusterService, transport);
    this.history = createClient(HistoryService, transport);
    this.consumers = createClient(ConsumerService, transport);
  }

  /**
   * The highest position that answers and watches have shown; undefined before the first one. Hand
   * it to another client in readOptions.atLeast, and that one reads what this one wrote.
   */
  get position(): Position | undefined {
    return this.#shared.known.position();
  }

  /**
   * Watch is Subscribe that resumes by itself. It yields frames until its signal ends it or the
   * service gives an answer that another attempt cannot change; both are thrown. While the service
   * cannot be reached it waits and tries the members in turn, without end.
   *
   * Every change that matches the filter is yielded once and in order. When the service cannot
   * resume (its history was trimmed, or it was restored from a backup) a reset comes first and then
   * a snapshot, unless failOnGap is set. If a snapshot breaks off, a reset of ours announces that
   * it begins again: what it brought so far has to be forgotten. An endpoint of another cluster
   * is passed over, and ends the watch with an error if it is the only one.
   *
   * Frames belong to the caller. While the caller works on one, no next one is handed out.
   */
  watch(
    request: MessageInitShape<typeof SubscribeRequestSchema> = {},
    options: WatchOptions = {},
  ): AsyncGenerator<Frame, void, undefined> {
    return watch(this.#shared, request, options);
  }

  /** Ends the calls and watches that are under way, with errors that isCanceled; further ones fail alike. */
  close(): void {
    this.#shared.life.end(new MetadataError("the client is closed", Code.Canceled));
  }
}

/** Makes the endpoints that the options name. */
function endpointsOf(options: ClientOptions, known: Known): Endpoint[] {
  const { endpoints, protocol = "connect", transport = webTransport(protocol) } = options;
  if (endpoints.length === 0 || endpoints.length > MAX_ENDPOINTS) {
    throw new RangeError(`${endpoints.length} endpoints; name 1 to MAX_ENDPOINTS, ${MAX_ENDPOINTS}`);
  }
  const interceptors = [...(options.interceptors ?? []), headersInterceptor(options.actor ?? "", known)];
  return endpoints.map((text) => {
    const url = parseEndpoint(text);
    return new Endpoint(url, transport(url.href.replace(/\/+$/, ""), interceptors));
  });
}

/** Makes transports that call by fetch. */
function webTransport(protocol: Protocol): NonNullable<ClientOptions["transport"]> {
  const make = { connect: createConnectTransport, "grpc-web": createGrpcWebTransport }[protocol];
  if (make === undefined) {
    throw new TypeError(`protocol is ${JSON.stringify(protocol)}; use "connect" or "grpc-web"`);
  }
  return (baseUrl, interceptors) => make({ baseUrl, interceptors, useBinaryFormat: true });
}

/** Names the caller towards members that do not know it by its certificate. */
const ACTOR_HEADER = "helios-actor";
/** Says which cluster a call is for: a member of another one refuses it. */
const CLUSTER_HEADER = "helios-cluster";
/** An id of a cluster. */
const CLUSTER_ID = /^[0-9a-f]{32}$/i;

/** Says in each call who calls, and which cluster is meant, once that is known. */
function headersInterceptor(actor: string, known: Known): Interceptor {
  return (next) => (request) => {
    if (actor !== "") {
      request.header.set(ACTOR_HEADER, actor);
    }
    if (known.clusterId !== "") {
      request.header.set(CLUSTER_HEADER, known.clusterId);
    }
    return next(request);
  };
}
