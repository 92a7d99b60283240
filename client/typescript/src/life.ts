/** Scope is that of a call or a watch while it is under way. */
export interface Scope {
  /** Ends with the caller's signal or with the client. */
  readonly signal: AbortSignal;
  /** Has to be called when it is over. */
  done(): void;
}

/**
 * Life is what is under way in a client, so that it ends with it. Each scope has a signal of its
 * own: a single one with a listener for each call would look like a leak to Node.js.
 */
export class Life {
  readonly #scopes = new Set<AbortController>();
  #end: { readonly reason: unknown } | undefined;

  begin(signal?: AbortSignal): Scope {
    const controller = new AbortController();
    const onAbort = () => controller.abort(signal?.reason);
    if (this.#end !== undefined) {
      controller.abort(this.#end.reason);
    } else if (signal?.aborted === true) {
      onAbort();
    }
    this.#scopes.add(controller);
    signal?.addEventListener("abort", onAbort);
    return {
      signal: controller.signal,
      done: () => {
        this.#scopes.delete(controller);
        signal?.removeEventListener("abort", onAbort);
      },
    };
  }

  /** Ends all that is under way, and all that will begin. */
  end(reason: unknown): void {
    this.#end ??= { reason };
    for (const scope of this.#scopes) {
      scope.abort(this.#end.reason);
    }
  }
}
