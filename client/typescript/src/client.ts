import { createClient, type Client as ServiceClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

import { ClusterService } from "./gen/heliosdb/metadata/v1/cluster_service_pb.js";
import { ConsumerService } from "./gen/heliosdb/metadata/v1/consumer_service_pb.js";
import { HistoryService } from "./gen/heliosdb/metadata/v1/history_service_pb.js";
import { MetadataService } from "./gen/heliosdb/metadata/v1/metadata_service_pb.js";

/** ClientOptions configure a Client. */
export interface ClientOptions {
  /** Base URLs of members, such as "http://127.0.0.1:9000". */
  readonly endpoints: readonly string[];
  /** What is spoken over HTTP. */
  readonly protocol?: "connect" | "grpc-web";
  /** Connect's interceptors, around each attempt. */
  readonly interceptors?: readonly Interceptor[];
}

/** Client calls the service: each field has the methods of one service of the contract. */
export class Client {
  /** Namespaces, tables, nodes, shards. */
  readonly metadata: ServiceClient<typeof MetadataService>;
  /** The state of the service itself. */
  readonly cluster: ServiceClient<typeof ClusterService>;
  /** What was. */
  readonly history: ServiceClient<typeof HistoryService>;
  /** Named consumers of changes. */
  readonly consumers: ServiceClient<typeof ConsumerService>;

  constructor(options: ClientOptions) {
    const [baseUrl] = options.endpoints;
    if (baseUrl === undefined) {
      throw new TypeError("no endpoints; name at least one");
    }
    const transport = (options.protocol === "grpc-web" ? createGrpcWebTransport : createConnectTransport)({
      baseUrl,
      useBinaryFormat: true,
      interceptors: [...(options.interceptors ?? [])],
    });
    this.metadata = createClient(MetadataService, transport);
    this.cluster = createClient(ClusterService, transport);
    this.history = createClient(HistoryService, transport);
    this.consumers = createClient(ConsumerService, transport);
  }
}
