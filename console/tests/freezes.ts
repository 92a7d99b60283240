import type { CDPSession, Page } from "playwright-core";
import { expect } from "vitest";

/** Longer than so a page may not be without a new picture: people notice that it does not answer. */
const NOTICED_MS = 200;
/** For so long a page at rest is looked at, to see what this machine takes from everybody. */
const REST_MS = 2_000;
/** For so long a page counts, to see how much of a processor it is given. */
const COUNT_MS = 300;

interface Seen {
  longest: number;
}

/**
 * Freezes is how long a page did not answer: the longest pause between two frames. On a machine with
 * much else to do everything takes longer, which is not the page's doing: limits grow with that.
 */
export class Freezes {
  readonly #page: Page;
  readonly #devtools: CDPSession;
  /** The longest pause of the page at rest, in milliseconds. */
  #rest = 0;
  /** How much longer work takes here, at worst, than on a machine that has nothing else to do. */
  #slowness = 1;

  private constructor(page: Page, devtools: CDPSession) {
    this.#page = page;
    this.#devtools = devtools;
  }

  /** Begins to look at a page, which has to be at rest. */
  static async of(page: Page): Promise<Freezes> {
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
    await page.evaluate(() => {
      const seen: Seen = { longest: 0 };
      Object.assign(globalThis, { seen });
      let before = performance.now();
      const frame = (now: number) => {
        seen.longest = Math.max(seen.longest, now - before);
        before = now;
        requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    });
    const freezes = new Freezes(page, devtools);
    await page.waitForTimeout(REST_MS);
    freezes.#rest = await freezes.#longest();
    freezes.#slowness = await freezes.#measure();
    return freezes;
  }

  /** Sees that there was none since this was asked last, beyond what comes of the machine. */
  async expectNone(what: string): Promise<void> {
    const longest = await this.#longest();
    this.#slowness = Math.max(this.#slowness, await this.#measure());
    const found = `longest pause while ${what}; ${this.#rest} ms at rest, ${this.#slowness} times as slow as alone`;
    expect(longest, found).toBeLessThan(this.limit);
  }

  /** What pause counts as one, in milliseconds, as slow as the machine was until now. */
  get limit(): number {
    return NOTICED_MS * this.#slowness + this.#rest;
  }

  async #longest(): Promise<number> {
    return this.#page.evaluate(() => {
      const { seen } = globalThis as unknown as { seen: Seen };
      const { longest } = seen;
      seen.longest = 0;
      return longest;
    });
  }

  /** Lets the page count for a while, and compares that with the time that it had the processor for. */
  async #measure(): Promise<number> {
    const before = await this.#threadMs();
    const took = await this.#page.evaluate((millis) => {
      const began = performance.now();
      while (performance.now() - began < millis);
      return performance.now() - began;
    }, COUNT_MS);
    const had = (await this.#threadMs()) - before;
    await this.#page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    await this.#longest(); // that was a pause, too
    return Math.max(1, took / had);
  }

  /** How long the page's thread has had a processor. */
  async #threadMs(): Promise<number> {
    const { metrics } = await this.#devtools.send("Performance.getMetrics");
    const [time] = metrics.filter(({ name }) => name === "ThreadTime");
    return (time?.value ?? 0) * 1_000;
  }
}
