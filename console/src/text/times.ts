import type { Change } from "@heliosdb/metadata";

type Timestamp = NonNullable<Change["time"]>;

/**
 * Writes a time of the service as a date and time of day, of UTC as on the command line: two people
 * in two places read the same. Never as "so long ago": the clock of this machine may be wrong.
 */
export function formatTime(time: Timestamp | undefined): string {
  if (time === undefined) {
    return "–";
  }
  const date = new Date(Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6));
  if (Number.isNaN(date.getTime())) {
    return "–"; // no calendar goes so far
  }
  return `${date.toISOString().slice(0, "2026-01-01T00:00:00".length).replace("T", " ")}Z`;
}

/** Writes a span of time that the service has measured. */
export function formatSpan(span: { readonly seconds: bigint; readonly nanos: number } | undefined): string {
  if (span === undefined) {
    return "–";
  }
  const millis = Number(span.seconds) * 1000 + Math.round(span.nanos / 1e6);
  const seconds = Math.floor(millis / 1000);
  if (seconds < 60) {
    return millis < 1000 && millis > 0 ? `${millis} ms` : `${Number((millis / 1000).toFixed(1))} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} min`;
  }
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Writes how old something is by the service's own clock, to a tenth of a second while that matters. */
export function formatAge(age: { readonly seconds: bigint; readonly nanos: number } | undefined): string {
  const seconds = Number(age?.seconds ?? 0n) + (age?.nanos ?? 0) / 1e9;
  return seconds < 10 ? `${seconds.toFixed(1)} s` : formatSpan(age);
}
