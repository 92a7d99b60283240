import { sleep, type Clock } from "./clock.js";
import type { Endpoint } from "./endpoint.js";
import { asMetadataError } from "./errors.js";
import { wasAnswered } from "./judgement.js";
import type { Life } from "./life.js";
import { type StatusResponse } from "./gen/heliosdb/metadata/v1/cluster_service_pb.js";
import { Stream } from "./gen/heliosdb/metadata/v1/position_pb.js";

/** How long a look-up that found the leaders counts, and how long one that did not. */
export const LEADER_REFRESH_MS = 30_000;
export const LEADER_RETRY_MS = 500;
/** How long a member may take to say how it is. */
const STATUS_TIMEOUT_MS = 1_000;
/** The time between two questions to a silent endpoint. */
export const SILENCE_RETRY_MS = 250;

/**
 * Pool is the endpoints of a client: which of them answer, and which leads a stream, so that
 * writes need no forwarding. That is an optimisation: every member takes every call.
 */
export class Pool {
  readonly endpoints: readonly Endpoint[];
  readonly #clock: Clock;
  readonly #life: Life;
  /** Index of the endpoint that answered last. */
  #preferred = 0;
  #leaders = new Map<Stream, number>();
  #looked = -Infinity;
  #looking = false;
  readonly #asking = new Set<Endpoint>();

  constructor(endpoints: readonly Endpoint[], clock: Clock, life: Life) {
    this.endpoints = endpoints;
    this.#clock = clock;
    this.#life = life;
  }

  /** Returns the index of the endpoint that a call asks first. */
  first(stream: Stream): number {
    const leader = stream === Stream.UNSPECIFIED ? undefined : this.#leader(stream);
    return leader !== undefined && !this.at(leader).avoided ? leader : this.answering(this.#preferred);
  }

  /** Returns the endpoint of an index. */
  at(index: number): Endpoint {
    const endpoint = this.endpoints[index % this.endpoints.length];
    if (endpoint === undefined) {
      throw new RangeError("a client without endpoints");
    }
    return endpoint;
  }

  /** Returns the index of an endpoint or, if calls should go elsewhere, of the next one to which they may; if there is none, its own. */
  answering(index: number): number {
    for (let i = 0; i < this.endpoints.length; i++) {
      const at = (index + i) % this.endpoints.length;
      if (!this.at(at).avoided) {
        return at;
      }
    }
    return index % this.endpoints.length;
  }

  /** Returns the endpoint to ask after another one failed, which is no longer taken for the leader. */
  after(index: number, stream: Stream): number {
    if (this.#leaders.get(stream) === index) {
      this.#leaders.delete(stream);
    }
    return this.answering(index + 1);
  }

  /** Further calls begin with this endpoint. */
  prefer(index: number): void {
    this.#preferred = index;
  }

  /**
   * Notes that an attempt has ended without an answer. A silent endpoint is asked until it answers,
   * so that no call has to find out.
   */
  waited(endpoint: Endpoint, since: number): void {
    if (this.endpoints.length === 1) {
      return;
    }
    endpoint.waited(since);
    if (endpoint.silent && !this.#asking.has(endpoint)) {
      this.#asking.add(endpoint);
      void this.#ask(endpoint);
    }
  }

  async #ask(endpoint: Endpoint): Promise<void> {
    const { signal, done } = this.#life.begin();
    while (endpoint.silent && (await sleep(this.#clock, SILENCE_RETRY_MS, signal))) {
      await this.#statusOf(endpoint, signal);
    }
    done();
    this.#asking.delete(endpoint);
  }

  /** Asks an endpoint how the service is; undefined if it does not say. */
  async #statusOf(endpoint: Endpoint, signal: AbortSignal): Promise<StatusResponse | undefined> {
    try {
      const status = await endpoint.cluster.status({}, { timeoutMs: STATUS_TIMEOUT_MS, signal });
      endpoint.answered(this.#clock.now());
      return status;
    } catch (thrown) {
      if (wasAnswered(asMetadataError(thrown, { endpoint: endpoint.url, rpc: "Status" }))) {
        endpoint.answered(this.#clock.now());
      }
      return undefined;
    }
  }

  /** Returns who leads a stream, if known. Begins a look-up in the background when what it knows is old. */
  #leader(stream: Stream): number | undefined {
    if (this.endpoints.length === 1) {
      return 0;
    }
    const index = this.#leaders.get(stream);
    const age = this.#clock.now() - this.#looked;
    if (!this.#looking && (age > LEADER_REFRESH_MS || (index === undefined && age > LEADER_RETRY_MS))) {
      this.#looking = true;
      void this.#lookUpLeaders();
    }
    return index;
  }

  async #lookUpLeaders(): Promise<void> {
    const asked = this.answering(this.#preferred);
    const { signal, done } = this.#life.begin();
    const status = await this.#statusOf(this.at(asked), signal);
    done();
    if (status !== undefined) {
      this.#leaders = leadersOf(status, asked, this.endpoints);
    }
    this.#looked = this.#clock.now();
    this.#looking = false;
  }
}

/**
 * Finds the endpoints that lead, by the addresses that members advertise: of each stream the leader
 * of the highest term that somebody has heard of.
 */
function leadersOf(status: StatusResponse, asked: number, endpoints: readonly Endpoint[]): Map<Stream, number> {
  const members = new Map([[status.memberId, asked]]);
  const claims = new Map<Stream, { term: bigint; leader: bigint }>();
  for (const member of status.members) {
    const at = endpoints.findIndex((endpoint) => endpoint.address === member.apiAddress);
    if (at >= 0) {
      members.set(member.memberId, at);
    }
    for (const { stream, term, leader } of member.streams) {
      if (leader !== 0n && term > (claims.get(stream)?.term ?? 0n)) {
        claims.set(stream, { term, leader });
      }
    }
  }
  const leaders = new Map<Stream, number>();
  for (const [stream, { leader }] of claims) {
    const at = members.get(leader);
    if (at !== undefined) {
      leaders.set(stream, at);
    }
  }
  return leaders;
}
