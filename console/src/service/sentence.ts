import { Code, ErrorReason, MetadataError } from "@heliosdb/metadata";

/** Says an error in a sentence for the person at the console: what it is, and what to do. */
export function sentence(error: unknown): string {
  if (!(error instanceof MetadataError)) {
    return error instanceof Error ? error.message : String(error);
  }
  const text = upper(error.message);
  if (error.reason !== ErrorReason.UNSPECIFIED) {
    return text;
  }
  switch (error.code) {
    case Code.Unauthenticated:
      return "The service, or a proxy before it, does not accept who you are. Enter a valid token under Identity, or sign in at the proxy and reload this page.";
    case Code.PermissionDenied:
      return "You are known, but not allowed to do this. Ask for the right, or enter another token under Identity.";
    case Code.Unimplemented:
      return "The member that serves this page is older than the console and cannot answer this. Upgrade it, or open the console of a newer member.";
    default:
      return text;
  }
}

function upper(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
