import { Code, ErrorReason, ForeignClusterError, MetadataError } from "@heliosdb/metadata";

import { origins } from "./origins.js";

/** Says an error in a sentence for the person at the console: what it is, and what to do. */
export function sentence(error: unknown): string {
  if (!(error instanceof MetadataError)) {
    return error instanceof Error ? error.message : String(error);
  }
  if (error instanceof ForeignClusterError) {
    const done = error.written ? "What you asked for was done in that one" : "Nothing was done";
    return `Another cluster answers at ${error.endpoint} than the one that this page shows. ${done}. The page begins anew if that cluster has taken the other's place; else see where the address leads.`;
  }
  if (error.reason !== ErrorReason.UNSPECIFIED) {
    return upper(error.message);
  }
  switch (error.code) {
    case Code.Unauthenticated:
      return "The service, or a proxy before it, does not accept who you are. Enter a valid token under Identity, or sign in at the proxy and reload this page.";
    case Code.PermissionDenied:
      return "You are known, but not allowed to do this. Ask for the right, or enter another token under Identity.";
    case Code.Unimplemented:
      return "The member that serves this page is older than the console and cannot answer this. Upgrade it, or open the console of a newer member.";
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Unknown:
    case Code.Internal:
      return origins().length > 1
        ? `No member answers (${detail(error)}). See that they run, and that they can be reached from here.`
        : `The member at ${location.host} does not answer (${detail(error)}). See that it runs, and that it can be reached from here.`;
    default:
      return upper(error.message);
  }
}

/** What the browser, or a proxy, says of it; Connect puts the code before it, in brackets. */
function detail(error: MetadataError): string {
  return error.cause instanceof Error ? error.cause.message.replace(/^\[\w+\] /, "") : error.message;
}

/** Begins with a capital, unless that would change a name or an address. */
export function upper(text: string): string {
  return /^[a-z]+[ ,]/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}
