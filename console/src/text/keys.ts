import type { KeyRange } from "@heliosdb/metadata";

/** How many bytes of a key are shown; more would hide the rest of the line. */
const MAX_SHOWN = 48;

const NO_KEY = new Uint8Array();

/**
 * Writes a range. Its ends are written as the command line writes keys, in quotes if they are text, in hex
 * otherwise; alike, as text only if both are.
 */
export function formatRange(range: Pick<KeyRange, "start" | "end"> | undefined): string {
  const start = range?.start ?? NO_KEY;
  const end = range?.end ?? NO_KEY;
  const asText = isText(start) && isText(end);
  return `[${start.length === 0 ? "start" : format(start, asText)}, ${end.length === 0 ? "end" : format(end, asText)})`;
}

/** Reads a key: text as it is, or pairs of hexadecimal digits behind 0x. Throws a sentence. */
export function parseKey(text: string): Uint8Array<ArrayBuffer> {
  if (!text.startsWith("0x")) {
    return new TextEncoder().encode(text);
  }
  const digits = text.slice(2);
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(digits)) {
    throw new Error(`${text}: behind 0x come two hexadecimal digits for each byte.`);
  }
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function format(key: Uint8Array, asText: boolean): string {
  const shown = key.subarray(0, MAX_SHOWN);
  const rest = key.length > MAX_SHOWN ? "…" : "";
  return (asText ? JSON.stringify(new TextDecoder().decode(shown)) : `0x${hex(shown)}`) + rest;
}

/** Tells text from bytes that happen to be printable, such as a lone 0x20. */
function isText(key: Uint8Array): boolean {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(key);
    return text === "" || (!text.startsWith("0x") && !/\p{C}/u.test(text) && /[\p{L}\p{Nd}]/u.test(text));
  } catch {
    return false;
  }
}

/** Hexadecimal digits of bytes. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Compares as the service does: byte by byte, the shorter one first. */
export function compareKeys(a: Uint8Array = NO_KEY, b: Uint8Array = NO_KEY): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) {
      return difference;
    }
  }
  return a.length - b.length;
}
