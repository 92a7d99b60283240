import { Client } from "@heliosdb/metadata";

import { identity } from "./identity.svelte.js";
import { origins } from "./origins.js";

/** How long the console waits for an answer, retries included: an election and one attempt more. */
const TIMEOUT_MS = 8_000;

function connect(): Client {
  return new Client({
    endpoints: origins(),
    protocol: "grpc-web",
    timeoutMs: TIMEOUT_MS,
    interceptors: [
      (next) => (request) => {
        identity.sign(request.header);
        return next(request);
      },
    ],
  });
}

let client = connect();

/** The client of the member that this page came from and, when that does not answer, of the others. */
export function service(): Client {
  return client;
}

/** Forgets what was seen of the cluster: the address has another one behind it, or it was restored. */
export function reconnect(): void {
  client.close();
  client = connect();
}
