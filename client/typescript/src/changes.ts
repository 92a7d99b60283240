import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, createClient, type ContextValues, type StreamResponse } from "@connectrpc/connect";

import { Watchdog } from "./watchdog.js";
import { Backoff } from "./backoff.js";
import { sleep } from "./clock.js";
import type { Endpoint } from "./endpoint.js";
import { asMetadataError, canceled, MetadataError } from "./errors.js";
import { HistoryService, type StreamChangesResponse } from "./gen/heliosdb/metadata/v1/history_service_pb.js";
import { Consistency, Stream } from "./gen/heliosdb/metadata/v1/position_pb.js";
import { isAboutEndpoint, judge } from "./judgement.js";
import { Reading } from "./reading.js";
import { encodable } from "./request.js";
import type { Shared } from "./tries.js";

/**
 * After how long a silence the changes count as broken and are asked for at another member, in
 * milliseconds. Members say something every second, but may need some for the first message.
 */
export const CHANGES_SILENCE_MS = 8_000;

const method = HistoryService.method.streamChanges;
type Message = StreamChangesResponse;

/** Asked is one call of StreamChanges. */
export interface Asked {
  readonly signal: AbortSignal | undefined;
  /** How long it may be without a message, in milliseconds. */
  readonly patienceMs: number;
  /** How long all of it may take, in milliseconds; undefined: as long as it takes. */
  readonly limitMs: number | undefined;
  readonly header: HeadersInit | undefined;
  readonly contextValues: ContextValues | undefined;
}

/**
 * Opens a StreamChanges that goes on at another member when one breaks off: its messages have all
 * changes, each once and in order. They end with the last change, with an answer that another
 * attempt cannot change, or when for patienceMs no member could go on; one that follows waits
 * for a member without end once it has begun. Throws what happens before the first message.
 */
export async function streamChanges(
  shared: Shared,
  init: MessageInitShape<typeof method.input>,
  asked: Asked,
): Promise<StreamResponse<typeof method.input, typeof method.output>> {
  const changes = new Changes(shared, init, asked);
  const messages = changes.messages();
  const first = await messages.next();
  const { header, trailer } = changes;
  return { stream: true, service: HistoryService, method, header, trailer, message: resumed(first, messages) };
}

async function* resumed<M>(first: IteratorResult<M, void>, rest: AsyncGenerator<M, void>): AsyncGenerator<M> {
  try {
    if (first.done !== true) {
      yield first.value;
      yield* rest;
    }
  } finally {
    await rest.return();
  }
}

/** Changes drives one StreamChanges, from session to session. */
class Changes {
  /** Those of the first answer. */
  header = new Headers();
  trailer = new Headers();
  readonly #shared: Shared;
  readonly #reading: Reading;
  readonly #asked: Asked;
  readonly #deadline: number;
  readonly #backoff: Backoff;
  #index: number;
  /** When the caller was done with the last message. */
  #heard: number;
  #failed = 0;
  /** Endpoints of which an attempt failed for what they are. */
  readonly #faulty = new Set<Endpoint>();

  constructor(shared: Shared, init: MessageInitShape<typeof method.input>, asked: Asked) {
    this.#shared = shared;
    this.#asked = asked;
    this.#reading = new Reading(encodable(method, init), shared.pool.endpoints.length);
    this.#backoff = new Backoff(shared.random);
    this.#index = shared.pool.first(Stream.UNSPECIFIED);
    this.#heard = shared.clock.now();
    this.#deadline = this.#heard + (asked.limitMs ?? Infinity);
  }

  get #endpoint(): Endpoint {
    return this.#shared.pool.at(this.#index);
  }

  /** Yields the messages of all sessions. */
  async *messages(): AsyncGenerator<Message, void> {
    const { signal, done } = this.#shared.life.begin(this.#asked.signal);
    try {
      while (!signal.aborted) {
        const broke = yield* this.#session(signal);
        if (broke === undefined || this.#reading.complete) {
          return;
        }
        await this.#pause(broke, signal);
      }
      throw canceled(signal, method.name);
    } finally {
      done();
    }
  }

  /** Yields what one member sends, and returns why that has ended; undefined: it was all. */
  async *#session(end: AbortSignal): AsyncGenerator<Message, MetadataError | undefined> {
    const stop = new AbortController();
    const watchdog = new Watchdog(this.#shared.clock, stop, CHANGES_SILENCE_MS, "message");
    const onEnd = () => stop.abort(end.reason);
    end.addEventListener("abort", onEnd);
    let known = false;
    try {
      watchdog.expect(0);
      for await (const message of await this.#open(stop.signal)) {
        if (!known) {
          await this.#identify(message, stop.signal);
          known = true;
        }
        watchdog.rest(); // the caller may take its time
        yield this.#see(message);
        this.#heard = this.#shared.clock.now();
        watchdog.expect(0);
      }
      const early = new MetadataError(`${this.#endpoint.url} ended the stream`, Code.Unavailable);
      return this.#reading.follows ? early : undefined;
    } catch (thrown) {
      const why: unknown = stop.signal.aborted ? stop.signal.reason : thrown;
      return asMetadataError(why, { endpoint: this.#endpoint.url, rpc: method.name });
    } finally {
      watchdog.rest();
      stop.abort();
      end.removeEventListener("abort", onEnd);
    }
  }

  async #open(signal: AbortSignal): Promise<AsyncIterable<Message>> {
    const { header, contextValues } = this.#asked;
    const request = this.#reading.next();
    async function* one() {
      yield request;
    }
    const left = this.#deadline - this.#shared.clock.now();
    const limit = left === Infinity ? undefined : Math.max(1, left);
    const response = await this.#endpoint.transport.stream(method, signal, limit, header, one(), contextValues);
    if (!this.#reading.begun) {
      this.header = response.header;
      this.trailer = response.trailer;
    }
    return response.message;
  }

  /** Sees that a session reads on in the same history; its first message alone does not always tell. */
  async #identify(message: Message, signal: AbortSignal): Promise<void> {
    const { transport, url } = this.#endpoint;
    if (message.clusterId !== "") {
      this.#reading.at(message, url);
      return;
    }
    const headers = new Headers(this.#asked.header);
    const read = { consistency: Consistency.LOCAL };
    const history = createClient(HistoryService, transport);
    this.#reading.at(await history.getHead({ stream: this.#reading.stream, read }, { signal, headers }), url);
  }

  #see(message: Message): Message {
    this.#endpoint.answered(this.#shared.clock.now());
    if (this.#reading.see(message)) {
      this.#backoff.reset();
    }
    return message;
  }

  /** Waits for the next session, at the next member; throws if another one cannot help. */
  async #pause(broke: MetadataError, end: AbortSignal): Promise<void> {
    const { pool, clock, onRetry } = this.#shared;
    if (end.aborted) {
      return;
    }
    this.#endpoint.failed(broke);
    const { again, waitMs: hint } = this.#reading.broke(broke.reason, judge(broke));
    // Once something has come, what another one says of itself ends the call: the caller has to know.
    const elsewhere = !this.#reading.begun && isAboutEndpoint(broke) && this.#faulty.add(this.#endpoint).size < pool.endpoints.length;
    const waitMs = Math.max(hint, this.#backoff.next());
    const patience = this.#reading.waits(broke.reason) ? Infinity : this.#heard + this.#asked.patienceMs;
    if (!(again || elsewhere) || clock.now() + waitMs >= Math.min(patience, this.#deadline)) {
      throw broke;
    }
    const attempt = ++this.#failed;
    onRetry?.({ rpc: method.name, endpoint: this.#endpoint.url, attempt, waitMs, error: broke });
    this.#index = pool.after(this.#index, Stream.UNSPECIFIED);
    await sleep(clock, waitMs, end);
  }
}
