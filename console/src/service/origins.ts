/** Returns the origins that the page's policy lets it call: the member that it came from, then the others, if any. */
export function origins(): readonly string[] {
  const others = document.querySelector<HTMLMetaElement>('meta[name="members"]')?.content ?? "";
  return [location.origin, ...others.split(" ").filter((origin) => origin !== "")];
}
