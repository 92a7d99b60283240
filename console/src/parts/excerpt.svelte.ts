/** So many rows are shown before somebody asks for more. */
export const STEP = 100;

/** Excerpt is what a table shows of very many rows: of those that are searched for, the first ones. */
export class Excerpt<T> {
  /** What is searched for; blank: everything. */
  text = $state("");
  /** All that match. */
  readonly found: readonly T[] = $derived.by(() => {
    const wanted = this.text.trim().toLowerCase();
    return wanted === "" ? this.#rows() : this.#rows().filter((row) => this.#matches(row, wanted));
  });
  /** What of it is shown. */
  readonly shown: readonly T[] = $derived.by(() => this.found.slice(0, this.#limit));

  #limit = $state(STEP);
  readonly #rows: () => readonly T[];
  readonly #matches: (row: T, wanted: string) => boolean;

  /** Wanted comes in lower case. */
  constructor(rows: () => readonly T[], matches: (row: T, wanted: string) => boolean) {
    this.#rows = rows;
    this.#matches = matches;
  }

  /** How many there are, matching or not. */
  get count(): number {
    return this.#rows().length;
  }

  more(): void {
    this.#limit += STEP;
  }
}
