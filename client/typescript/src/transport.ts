import type { DescMessage, DescMethod, DescMethodStreaming, DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import { Code, type ContextValues, type StreamResponse, type Transport, type UnaryResponse } from "@connectrpc/connect";

import { streamChanges } from "./changes.js";
import { MetadataError } from "./errors.js";
import { ErrorReason } from "./gen/heliosdb/metadata/v1/error_pb.js";
import { HistoryService, type StreamChangesRequestSchema } from "./gen/heliosdb/metadata/v1/history_service_pb.js";
import { Stream, type Consistency } from "./gen/heliosdb/metadata/v1/position_pb.js";
import type { Scope } from "./life.js";
import { within } from "./opening.js";
import { prepare } from "./request.js";
import { Tries, type Shared } from "./tries.js";

/** The longest deadline of a call: a day. Timers of browsers count to 24 of them. */
export const MAX_TIMEOUT_MS = 86_400_000;

/**
 * A stream's first answer may take longer than that of a call: a member that is behind waits until
 * it can give it. By so much longer.
 */
const FIRST_ANSWER_FACTOR = 2;

/** What all calls have unless they say otherwise. */
export interface Defaults {
  readonly timeoutMs: number;
  readonly consistency: Consistency;
}

/**
 * ServiceTransport makes calls at one of several members. Connect's generated clients do not see
 * that: each call of theirs is one here, with its attempts.
 */
export class ServiceTransport implements Transport {
  readonly #shared: Shared;
  readonly #defaults: Defaults;

  constructor(shared: Shared, defaults: Defaults) {
    this.#shared = shared;
    this.#defaults = defaults;
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: MessageInitShape<I>,
    contextValues?: ContextValues,
  ): Promise<UnaryResponse<I, O>> {
    const { known, life } = this.#shared;
    const request = prepare<I>(method, input, known, this.#defaults.consistency);
    const limit = checkTimeout(timeoutMs ?? this.#defaults.timeoutMs, method.name);
    const scope = life.begin(signal);
    const tries = new Tries(this.#shared, {
      rpc: method.name,
      stream: request.stream,
      timeoutMs: limit,
      signal: scope.signal,
      requestId: request.dryRun ? undefined : request.requestId,
      knownRevision: request.knownRevision,
    });
    const attempt = async (): Promise<UnaryResponse<I, O>> => {
      const { endpoint, isFirst, patienceMs } = tries;
      const message = (isFirst ? request.first : request.again) as MessageInitShape<I>;
      const response = await endpoint.transport.unary(method, scope.signal, patienceMs, header, message, contextValues);
      if (known.learn(response.message, endpoint.url, request.requestId !== undefined && !request.dryRun)) {
        endpoint.identified();
      }
      return response;
    };
    try {
      return await tries.until(attempt);
    } catch (error) {
      this.#doubt(error, request.ownPosition);
      throw error;
    } finally {
      scope.done();
    }
  }

  /**
   * Opens a stream. A call with one request is made again until its first answer is there; from
   * then on, and with several requests, a break is the caller's to see, but for StreamChanges,
   * which goes on by itself. It has no deadline but the caller's.
   */
  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: AsyncIterable<MessageInitShape<I>>,
    contextValues?: ContextValues,
  ): Promise<StreamResponse<I, O>> {
    const limit = timeoutMs === undefined ? undefined : checkTimeout(timeoutMs, method.name);
    if ((method as DescMethod) === HistoryService.method.streamChanges) {
      const asked = { signal, patienceMs: limit ?? this.#defaults.timeoutMs, limitMs: limit, header, contextValues };
      const [request] = (await gather(input)) as MessageInitShape<typeof StreamChangesRequestSchema>[];
      return (await streamChanges(this.#shared, request ?? {}, asked)) as unknown as StreamResponse<I, O>;
    }
    const scope = this.#shared.life.begin(signal);
    const tries = new Tries(this.#shared, {
      rpc: method.name,
      stream: Stream.UNSPECIFIED,
      timeoutMs: limit ?? this.#defaults.timeoutMs,
      signal: scope.signal,
      requestId: undefined,
      knownRevision: 0n,
    });
    const open = (signal: AbortSignal, requests: AsyncIterable<MessageInitShape<I>>) =>
      tries.endpoint.transport.stream(method, signal, limit, header, requests, contextValues);
    try {
      if (method.methodKind !== "server_streaming") {
        const response = await tries.once(() => open(scope.signal, input));
        return { ...response, message: answersOf(undefined, response.message[Symbol.asyncIterator](), tries, scope) };
      }
      const requests = await gather(input);
      const begin = async (attempt: AbortSignal) => {
        const response = await open(attempt, replay(requests));
        const answers = response.message[Symbol.asyncIterator]();
        return { response, answers, first: await answers.next() };
      };
      const { clock } = this.#shared;
      const { response, answers, first } = await tries.until(() =>
        within(clock, FIRST_ANSWER_FACTOR * tries.patienceMs, scope.signal, begin),
      );
      return { ...response, message: answersOf(first, answers, tries, scope) };
    } catch (error) {
      scope.done();
      throw error;
    }
  }

  /** What the service has lost is not waited for a second time: the caller is told once. */
  #doubt(error: unknown, ownPosition: boolean): void {
    const reason = error instanceof MetadataError ? error.reason : ErrorReason.UNSPECIFIED;
    if (ownPosition && (reason === ErrorReason.FUTURE_REVISION || reason === ErrorReason.FOREIGN_POSITION)) {
      this.#shared.known.forget();
    }
  }
}

async function gather<M>(input: AsyncIterable<M>): Promise<M[]> {
  const all: M[] = [];
  for await (const message of input) {
    all.push(message);
  }
  return all;
}

async function* replay<M>(messages: readonly M[]): AsyncGenerator<M> {
  yield* messages;
}

/** Yields answers, the first one of which may be there already, and makes errors those of this package. */
async function* answersOf<M>(
  first: IteratorResult<M> | undefined,
  rest: AsyncIterator<M>,
  tries: Tries,
  scope: Scope,
): AsyncGenerator<M> {
  try {
    for (let next = first ?? (await rest.next()); next.done !== true; next = await rest.next()) {
      yield next.value;
    }
  } catch (thrown) {
    throw tries.errorOf(thrown);
  } finally {
    await rest.return?.();
    scope.done();
  }
}

/** Refuses a deadline that is none. */
export function checkTimeout(millis: number, rpc: string): number {
  if (millis > 0 && millis <= MAX_TIMEOUT_MS) {
    return millis;
  }
  throw new MetadataError(
    `${rpc}: a timeout of ${millis} ms; it has to be above 0 and at most MAX_TIMEOUT_MS, ${MAX_TIMEOUT_MS}`,
    Code.InvalidArgument,
  );
}
