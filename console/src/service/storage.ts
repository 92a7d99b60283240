/** Kind is for how long the browser keeps a text: for good, or as long as the tab. */
export type Kind = "localStorage" | "sessionStorage";

/** Reads what was kept; "" if nothing was, or if nothing may be kept. */
export function kept(kind: Kind, key: string): string {
  try {
    return window[kind].getItem(key) ?? "";
  } catch {
    return "";
  }
}

/** Keeps a text, if that is possible. */
export function keep(kind: Kind, key: string, text: string): void {
  try {
    window[kind].setItem(key, text);
  } catch {
    // The page itself has it.
  }
}
