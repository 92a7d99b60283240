import type { Change } from "@heliosdb/metadata";

type Timestamp = NonNullable<Change["time"]>;

/**
 * Writes a time of the service as a date and time of day, here. Never as "so long ago": the clock of
 * this machine may be wrong.
 */
export function formatTime(time: Timestamp | undefined): string {
  if (time === undefined) {
    return "–";
  }
  const date = new Date(Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6));
  const two = (n: number) => String(n).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Writes a span of time that the service has measured. */
export function formatSpan(span: { readonly seconds: bigint } | undefined): string {
  const seconds = Number(span?.seconds ?? 0n);
  if (seconds < 60) {
    return `${seconds} s`;
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
