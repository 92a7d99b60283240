/** Reads key=value, key=value; one is called that. Throws a sentence. */
export function pairsOf(what: string, text: string): Record<string, string> {
  const read: Record<string, string> = {};
  for (const part of text.split(",").map((pair) => pair.trim()).filter((pair) => pair !== "")) {
    const at = part.indexOf("=");
    if (at < 1) {
      throw new Error(`The ${what} ${part} is no key=value.`);
    }
    read[part.slice(0, at)] = part.slice(at + 1);
  }
  return read;
}
