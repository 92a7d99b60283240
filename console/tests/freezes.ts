import type { Page } from "playwright-core";
import { expect } from "vitest";

/** Longer than so a page may not be without a new picture: people notice that it does not answer. */
const NOTICED_MS = 200;
/** For so long a page at rest is looked at, to see what this machine takes from everybody. */
const REST_MS = 2_000;

interface Seen {
  longest: number;
}

/** Freezes is how long a page did not answer: the longest pause between two frames. */
export class Freezes {
  readonly #page: Page;
  /** The longest pause of the page at rest, in milliseconds: it comes of the machine. */
  readonly #rest: number;

  private constructor(page: Page, rest: number) {
    this.#page = page;
    this.#rest = rest;
  }

  /** Begins to look at a page, which has to be at rest. */
  static async of(page: Page): Promise<Freezes> {
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
    await page.waitForTimeout(REST_MS);
    return new Freezes(page, await new Freezes(page, 0).#longest());
  }

  /** Sees that there was none since this was asked last, beyond what comes of the machine. */
  async expectNone(what: string): Promise<void> {
    expect(await this.#longest(), `longest pause while ${what}; ${this.#rest} ms at rest`).toBeLessThan(NOTICED_MS + this.#rest);
  }

  async #longest(): Promise<number> {
    return this.#page.evaluate(() => {
      const { seen } = globalThis as unknown as { seen: Seen };
      const { longest } = seen;
      seen.longest = 0;
      return longest;
    });
  }
}
