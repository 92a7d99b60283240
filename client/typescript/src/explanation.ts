import { Code, type ConnectError } from "@connectrpc/connect";

import type { Origin } from "./errors.js";

/** Says in a sentence what an error amounts to for which the service gave no reason. */
export function explain(error: ConnectError, { endpoint, rpc }: Origin): string {
  const text = causesOf(error);
  switch (error.code) {
    case Code.Unimplemented:
      return `${endpoint} does not know ${rpc} (${text}): it is older than this client, or no HeliosDB Metadata Service; upgrade it, or name another endpoint`;
    case Code.Unauthenticated:
    case Code.PermissionDenied:
      return `${endpoint} refused the caller of ${rpc}: ${text}; see that the token or certificate that is sent is valid there and has not expired, and that calls for this host name are allowed (serve --allowed-hosts)`;
    case Code.DeadlineExceeded:
      return `${endpoint} did not answer ${rpc} in time: ${text}`;
    default:
      break;
  }
  switch (unreached(error)) {
    case "refused certificate":
      return `${endpoint} shows a certificate that is not trusted: ${text}; name the host as its certificate does, and trust the authority that signed it`;
    case "not reached":
      return `${endpoint} cannot be reached: ${text}; see that it runs and that the address is right`;
    case "no answer":
      return `${endpoint} gave no answer to ${rpc}: ${text}; see that it runs, that its certificate is trusted and, in a browser, that pages of this origin may call it (serve --cors-origins)`;
    default:
      return `${endpoint} failed ${rpc}: ${text}`;
  }
}

/** Why the network has brought no answer at all; undefined if it did, or if that is not known. */
export type Unreached = "refused certificate" | "not reached" | "no answer" | undefined;

/** Errors of Node.js for connections that were never made, so that nothing was sent. */
const neverMade = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "UND_ERR_CONNECT_TIMEOUT",
]);

const ofCertificates = /^(ERR_TLS_CERT|CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_)/;

/** Says how far a call came. Browsers do not tell more than that there is no answer. */
export function unreached(error: unknown): Unreached {
  let fetchFailed = false;
  for (const cause of causes(error)) {
    const code: unknown = (cause as { code?: unknown }).code;
    if (typeof code === "string") {
      if (ofCertificates.test(code)) {
        return "refused certificate";
      }
      if (neverMade.has(code)) {
        return "not reached";
      }
    }
    // What fetch throws whenever it has no answer, in all browsers.
    fetchFailed ||= cause instanceof TypeError;
  }
  return fetchFailed ? "no answer" : undefined;
}

/** What the error and its causes say; fetch hides what matters in a cause. */
function causesOf(error: ConnectError): string {
  const texts = [...causes(error)].map((cause) => ("rawMessage" in cause ? String(cause.rawMessage) : cause.message));
  return [...new Set(texts.filter((text) => text !== ""))].join(": ");
}

/** At most so many causes are looked at: they may go in a circle. */
const maxCauses = 8;

function* causes(error: unknown): Generator<Error> {
  for (let i = 0; i < maxCauses && error instanceof Error; i++) {
    yield error;
    error = error.cause instanceof AggregateError ? error.cause.errors[0] : error.cause;
  }
}
