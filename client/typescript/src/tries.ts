import { Code } from "@connectrpc/connect";

import { Backoff } from "./backoff.js";
import { sleep, type Clock, type Random } from "./clock.js";
import type { Endpoint } from "./endpoint.js";
import { asMetadataError, canceled, unknownOutcome, MetadataError } from "./errors.js";
import type { Stream } from "./gen/heliosdb/metadata/v1/position_pb.js";
import { isAboutEndpoint, judge, mayHaveHappened, wasAnswered } from "./judgement.js";
import type { Known } from "./known.js";
import type { Life } from "./life.js";
import type { Pool } from "./pool.js";

/**
 * How long a member may take to answer an attempt, in milliseconds: at first about as long as the
 * members take to replace a leader that is cut off, then the call goes on at another one; longer
 * in the end, when it turns out that all are slow, and where there is no other member to ask.
 */
export const FIRST_ATTEMPT_MS = 1_000;
export const LONGEST_ATTEMPT_MS = 4_000;

/** Retry is what is told of an attempt that failed and is followed by another one. */
export interface Retry {
  /** The name of the rpc. */
  readonly rpc: string;
  /** The endpoint that failed. */
  readonly endpoint: string;
  /** How many attempts have failed. */
  readonly attempt: number;
  /** How long it is until the next one, in milliseconds. */
  readonly waitMs: number;
  readonly error: MetadataError;
}

/** Shared are what the calls of a client share. */
export interface Shared {
  readonly pool: Pool;
  readonly known: Known;
  readonly clock: Clock;
  readonly random: Random;
  readonly life: Life;
  readonly onRetry: ((retry: Retry) => void) | undefined;
}

/** What a Tries is for. */
export interface Purpose {
  readonly rpc: string;
  /** Whose leader is asked first. */
  readonly stream: Stream;
  /** How long all attempts may take together, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Of a write whose outcome matters, with what was known when its id was new. */
  readonly requestId: string | undefined;
  readonly knownRevision: bigint;
}

/** Tries are the attempts of one call, one after the other. */
export class Tries {
  readonly #shared: Shared;
  readonly #purpose: Purpose;
  readonly #deadline: number;
  readonly #backoff: Backoff;
  #index: number;
  #failed = 0;
  /** Endpoints of which an attempt failed for what they are. */
  readonly #faulty = new Set<Endpoint>();
  #began: number;
  /** An attempt may take or have taken effect, and none told. */
  #uncertain = false;

  constructor(shared: Shared, purpose: Purpose) {
    this.#shared = shared;
    this.#purpose = purpose;
    this.#began = shared.clock.now();
    this.#deadline = this.#began + purpose.timeoutMs;
    this.#backoff = new Backoff(shared.random);
    this.#index = shared.pool.first(purpose.stream);
  }

  /** The member to ask now; in the end, the one that has answered. */
  get endpoint(): Endpoint {
    return this.#shared.pool.at(this.#index);
  }

  /** Whether no attempt has failed yet. */
  get isFirst(): boolean {
    return this.#failed === 0;
  }

  /** Makes attempts until one is answered, and waits between them; throws if another one cannot help. */
  async until<A>(attempt: () => Promise<A>): Promise<A> {
    const { signal, rpc } = this.#purpose;
    if (signal.aborted) {
      throw canceled(signal, rpc); // nothing was sent
    }
    for (;;) {
      try {
        const answer = await this.once(attempt);
        if (this.#failed > 0) {
          this.#shared.pool.prefer(this.#index);
        }
        return answer;
      } catch (error) {
        await this.#next(error as MetadataError);
      }
    }
  }

  /** Makes one attempt, and notes what that tells of the member. */
  async once<A>(attempt: () => Promise<A>): Promise<A> {
    const { clock, pool } = this.#shared;
    const endpoint = this.endpoint;
    this.#began = clock.now();
    try {
      const answer = await attempt();
      endpoint.answered(clock.now());
      return answer;
    } catch (thrown) {
      const error = this.errorOf(thrown);
      endpoint.failed(error);
      if (wasAnswered(error)) {
        endpoint.answered(clock.now());
      } else if (error.code === Code.DeadlineExceeded && clock.now() - this.#began >= FIRST_ATTEMPT_MS) {
        pool.waited(endpoint, this.#began);
      }
      throw error;
    }
  }

  /** How long the attempt that has begun may take, in milliseconds, so that there is time for others. */
  get patienceMs(): number {
    const alone = this.#shared.pool.endpoints.length === 1;
    const growing = FIRST_ATTEMPT_MS * 2 ** Math.floor(this.#failed / 2);
    const patience = alone ? LONGEST_ATTEMPT_MS : Math.min(growing, LONGEST_ATTEMPT_MS);
    return Math.max(1, Math.min(patience, this.#deadline - this.#began));
  }

  /** What was thrown by the member that is asked now. */
  errorOf(thrown: unknown): MetadataError {
    const { signal, rpc } = this.#purpose;
    return signal.aborted ? canceled(signal, rpc) : asMetadataError(thrown, { endpoint: this.endpoint.url, rpc });
  }

  /** Waits for the next attempt, at another member; throws if there is none. */
  async #next(error: MetadataError): Promise<void> {
    const { rpc, stream, signal } = this.#purpose;
    const { pool, clock } = this.#shared;
    this.#uncertain ||= mayHaveHappened(error);
    const { again, waitMs: hint } = judge(error);
    const elsewhere = isAboutEndpoint(error) && this.#faulty.add(this.endpoint).size < pool.endpoints.length;
    const waitMs = this.#pause(hint);
    if (signal.aborted || !(again || elsewhere) || clock.now() + waitMs >= this.#deadline) {
      throw this.#ended(error);
    }
    this.#shared.onRetry?.({ rpc, endpoint: this.endpoint.url, attempt: this.#failed, waitMs, error });
    this.#index = pool.after(this.#index, stream);
    if (!(await sleep(clock, waitMs, signal))) {
      throw this.#ended(canceled(signal, rpc));
    }
  }

  /** Counts an attempt that failed, and returns how long to wait before the next one. */
  #pause(hint: number): number {
    this.#failed++;
    // Those who were given the same hint should not come back together.
    const waitMs = hint * (1 + this.#shared.random() / 2);
    // The first round through the endpoints is quick: the next one is likely to be fine.
    return this.#failed < this.#shared.pool.endpoints.length ? waitMs : Math.max(waitMs, this.#backoff.next());
  }

  /**
   * The error that ends the call. A refusal tells nothing of an attempt before it: that one may
   * still be on its way, in a member that is paused or behind a link that is cut.
   */
  #ended(error: MetadataError): MetadataError {
    const { requestId, knownRevision } = this.#purpose;
    return requestId !== undefined && this.#uncertain ? unknownOutcome(requestId, knownRevision, error) : error;
  }
}
