const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Writes a number of bytes. */
export function formatBytes(bytes: bigint | number): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(unit === 0 || value >= 100 ? 0 : 1)} ${UNITS[unit]}`;
}

/** Writes a count with separators. */
export function formatCount(count: bigint | number): string {
  return count.toLocaleString("en-US");
}

/** Writes a rate per second. */
export function formatRate(rate: number | null | undefined): string {
  if (rate === null || rate === undefined) {
    return "–";
  }
  return rate >= 100 ? formatCount(Math.round(rate)) : rate.toFixed(rate >= 10 || Number.isInteger(rate) ? 0 : 1);
}

/** Says how many there are of something. */
export function plural(count: number | bigint, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${Number(count) === 1 ? one : many}`;
}
