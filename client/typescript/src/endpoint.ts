import { createClient, type Client as ServiceClient, type Transport } from "@connectrpc/connect";

import { ForeignClusterError, type MetadataError } from "./errors.js";
import { ClusterService } from "./gen/heliosdb/metadata/v1/cluster_service_pb.js";

/** Endpoint is one member as the client reaches it, and whether it answers at all. */
export class Endpoint {
  /** Its base URL. */
  readonly url: string;
  /** HOST:PORT, as members advertise it. */
  readonly address: string;
  readonly transport: Transport;
  readonly cluster: ServiceClient<typeof ClusterService>;
  /** When it last answered anything. */
  #heard = -Infinity;
  #silent = false;
  #foreign = false;

  constructor(url: URL, transport: Transport) {
    // A path is kept: a proxy may serve the service below one.
    this.url = url.origin + url.pathname.replace(/\/+$/, "");
    this.address = `${url.hostname}:${url.port || (url.protocol === "https:" ? "443" : "80")}`;
    this.transport = transport;
    this.cluster = createClient(ClusterService, transport);
  }

  /** Whether it does not answer. */
  get silent(): boolean {
    return this.#silent;
  }

  /** Whether calls should go elsewhere. */
  get avoided(): boolean {
    return this.#silent || this.#foreign;
  }

  /** Notes that an answer has shown it to be of the client's cluster. */
  identified(): void {
    this.#foreign = false;
  }

  /** Notes an error: whether it turned out to be of another cluster. */
  failed(error: MetadataError): void {
    this.#foreign ||= error instanceof ForeignClusterError;
  }

  /** Notes an answer of any kind. */
  answered(now: number): void {
    this.#heard = now;
    this.#silent = false;
  }

  /** Notes that a call has waited in vain since a moment. One that is slow with one call answers others. */
  waited(since: number): void {
    this.#silent ||= this.#heard <= since;
  }
}

/** Reads a base URL as the user wrote it. */
export function parseEndpoint(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new TypeError(`endpoint ${JSON.stringify(text)} is no URL; write http(s)://HOST:PORT`, { cause });
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new TypeError(
      `endpoint ${JSON.stringify(text)} has the scheme ${JSON.stringify(url.protocol)}; use http or https`,
    );
  }
  if (url.search !== "" || url.hash !== "" || url.username !== "" || url.password !== "") {
    throw new TypeError(
      `endpoint ${JSON.stringify(text)} has a query, a fragment or a user; write http(s)://HOST:PORT`,
    );
  }
  return url;
}
