import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";

import { Watchdog } from "./watchdog.js";
import { Backoff } from "./backoff.js";
import { sleep } from "./clock.js";
import type { Endpoint } from "./endpoint.js";
import { asMetadataError, canceled, MetadataError } from "./errors.js";
import { ErrorReason } from "./gen/heliosdb/metadata/v1/error_pb.js";
import { MetadataService } from "./gen/heliosdb/metadata/v1/metadata_service_pb.js";
import { Stream } from "./gen/heliosdb/metadata/v1/position_pb.js";
import type { SubscribeRequest, SubscribeRequestSchema } from "./gen/heliosdb/metadata/v1/subscription_pb.js";
import { isAboutEndpoint, judge } from "./judgement.js";
import { foreign } from "./known.js";
import { encodable } from "./request.js";
import { Resumption, type Frame } from "./resumption.js";
import type { Shared } from "./tries.js";

/** After how many missed bookmarks a subscription counts as broken and is opened again at another member. */
const SILENCE_FACTOR = 5;
/** The service's time between bookmarks, in milliseconds, where the request names none. */
const DEFAULT_INTERVAL_MS = 1_000;
/**
 * A subscription is never given up for a shorter silence: short intervals must not break it over a
 * pause of either side.
 */
export const MIN_SILENCE_MS = 3_000;
/**
 * The first frame after a break may take so long at least: a member that is behind the position
 * first waits 5 seconds to reach it.
 */
export const RESUME_MS = 8_000;
/** A session that lasted so long was sound: what breaks it is not what broke the one before. */
const SOUND_SESSION_MS = 1_000;

/** WatchOptions are options of a watch. */
export interface WatchOptions {
  /** Ends the watch, with an error that isCanceled. */
  readonly signal?: AbortSignal;
  /** Headers of each session. */
  readonly headers?: HeadersInit;
  /** Is told each time that a session breaks and the watch goes on, before it waits. */
  readonly onBreak?: (error: MetadataError) => void;
}

/** See Client.watch. */
export async function* watch(
  shared: Shared,
  init: MessageInitShape<typeof SubscribeRequestSchema>,
  options: WatchOptions,
): AsyncGenerator<Frame, void, undefined> {
  const { signal, done } = shared.life.begin(options.signal);
  try {
    const w = new Watch(shared, encodable(MetadataService.method.subscribe, init), options, signal);
    for (;;) {
      const broke = yield* w.session();
      if (signal.aborted) {
        throw canceled(signal, "Subscribe");
      }
      await w.pause(broke);
      const reset = w.resumption.announce();
      if (reset !== undefined) {
        yield reset;
      }
    }
  } finally {
    done();
  }
}

/** Watch drives one watch, from session to session. */
class Watch {
  readonly resumption: Resumption;
  readonly #shared: Shared;
  readonly #options: WatchOptions;
  readonly #end: AbortSignal;
  readonly #backoff: Backoff;
  #index: number;
  /** A member that did not refuse the call turned out to be of another cluster: its frames are mixed in. */
  #foreign: MetadataError | undefined;
  /** Endpoints whose last answer was about what they are. */
  readonly #faulty = new Set<Endpoint>();

  constructor(shared: Shared, request: SubscribeRequest, options: WatchOptions, end: AbortSignal) {
    this.resumption = new Resumption(request, shared.pool.endpoints.length);
    this.#shared = shared;
    this.#options = options;
    this.#end = end;
    this.#backoff = new Backoff(shared.random);
    this.#index = shared.pool.first(Stream.UNSPECIFIED);
  }

  get #endpoint(): Endpoint {
    return this.#shared.pool.at(this.#index);
  }

  /** Follows one subscription until it breaks, and returns why it did. */
  async *session(): AsyncGenerator<Frame, MetadataError, undefined> {
    const { clock } = this.#shared;
    const began = clock.now();
    const request = this.resumption.next();
    const stop = new AbortController();
    const watchdog = new Watchdog(clock, stop, silenceOf(request), "frame");
    const onEnd = () => stop.abort(this.#end.reason);
    this.#end.addEventListener("abort", onEnd);
    try {
      watchdog.expect(request.start.case === "after" ? RESUME_MS : 0);
      for await (const { frame } of await this.#open(request, stop.signal)) {
        watchdog.rest(); // the caller may take its time
        if (clock.now() - began >= SOUND_SESSION_MS) {
          this.#backoff.reset();
        }
        this.#endpoint.answered(clock.now());
        this.#faulty.clear();
        const news = this.resumption.see(frame);
        this.#learn();
        if (news !== undefined) {
          yield news;
        }
        watchdog.expect(0);
      }
      return new MetadataError(`${this.#endpoint.url} ended the subscription`, Code.Unavailable);
    } catch (thrown) {
      const why: unknown = stop.signal.aborted ? stop.signal.reason : thrown;
      return asMetadataError(why, { endpoint: this.#endpoint.url, rpc: "Subscribe" });
    } finally {
      watchdog.rest();
      stop.abort();
      this.#end.removeEventListener("abort", onEnd);
    }
  }

  async #open(request: SubscribeRequest, signal: AbortSignal) {
    async function* one() {
      yield request;
    }
    const { subscribe } = MetadataService.method;
    const response = await this.#endpoint.transport.stream(subscribe, signal, undefined, this.#options.headers, one());
    return response.message;
  }

  /** What the caller has seen here, later reads show, too. */
  #learn(): void {
    const position = this.resumption.position;
    if (position === undefined) {
      return;
    }
    try {
      this.#shared.known.see(position, this.#endpoint.url);
      this.#endpoint.identified();
    } catch (error) {
      this.#foreign = error as MetadataError;
      throw error;
    }
  }

  /** Waits for the next session, at the next member; throws if another one cannot help. */
  async pause(broke: MetadataError): Promise<void> {
    if (this.#foreign !== undefined) {
      throw this.#foreign;
    }
    broke = await this.#named(broke);
    this.#endpoint.failed(broke);
    const { again, waitMs } = this.resumption.broke(broke.reason, judge(broke));
    const elsewhere = this.#elsewhere(broke);
    if (!again && !elsewhere) {
      throw broke;
    }
    this.#options.onBreak?.(broke);
    this.#index = this.#shared.pool.after(this.#index, Stream.UNSPECIFIED);
    if (!(await sleep(this.#shared.clock, Math.max(waitMs, this.#backoff.next()), this.#end))) {
      throw canceled(this.#end, "Subscribe");
    }
  }

  /** Whether another endpoint may be in order, because not all have said that they are not. */
  #elsewhere(broke: MetadataError): boolean {
    if (!isAboutEndpoint(broke)) {
      this.#faulty.delete(this.#endpoint);
      return false;
    }
    this.#faulty.add(this.#endpoint);
    return this.#faulty.size < this.#shared.pool.endpoints.length;
  }

  /**
   * A position is foreign to a cluster that was restored from a backup, which a reset and a
   * snapshot make up for, and to another cluster, whose changes are no continuation: returns
   * another error then.
   */
  async #named(broke: MetadataError): Promise<MetadataError> {
    const own = this.resumption.position?.clusterId ?? "";
    if (broke.reason !== ErrorReason.FOREIGN_POSITION || own === "") {
      return broke;
    }
    try {
      const { clusterId } = await this.#endpoint.cluster.status({}, { signal: this.#end, timeoutMs: MIN_SILENCE_MS });
      return clusterId === own ? broke : foreign(this.#endpoint.url, clusterId, own);
    } catch {
      return broke; // it will say so again, if it is there again
    }
  }
}

/** How long a subscription may be without a frame, in milliseconds. */
function silenceOf(request: SubscribeRequest): number {
  const interval = request.bookmarkIntervalMillis || DEFAULT_INTERVAL_MS;
  return Math.max(SILENCE_FACTOR * interval, MIN_SILENCE_MS);
}
