import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";

const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

const args = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const DESKTOP = { width: 1280, height: 860 };
export const PHONE = { width: 390, height: 844 };

/** Browser is one browser with a profile of its own, which sees to it that pages behave. */
export class Browser {
  /** What no page may do: ask another origin, break its policy, throw. */
  readonly offences: string[] = [];
  /** The members' origins, where pages may make calls wherever they come from. */
  callable: readonly string[] = [];
  readonly #directory: string;
  readonly #context: BrowserContext;

  private constructor(directory: string, context: BrowserContext) {
    this.#directory = directory;
    this.#context = context;
  }

  static async launch(options: BrowserContextOptions = {}): Promise<Browser> {
    const directory = mkdtempSync(join(tmpdir(), "heliosmeta-chromium-"));
    const context = await chromium.launchPersistentContext(directory, { executablePath, args, viewport: DESKTOP, reducedMotion: "reduce", ...options });
    context.setDefaultTimeout(30_000);
    return new Browser(directory, context);
  }

  /** Opens a page of the console, in which a script may run before everything else, and which may ask those others. */
  async open(origin: string, path: string, viewport = DESKTOP, before?: string, others: readonly string[] = []): Promise<Page> {
    const page = await this.#context.newPage();
    await page.setViewportSize(viewport);
    page.on("request", (request) => {
      const url = request.url();
      const calls = this.callable.some((its) => url.startsWith(`${its}/heliosdb.metadata.v1.`));
      if (![origin, ...others].some((its) => url.startsWith(`${its}/`)) && !url.startsWith("data:") && !calls) {
        this.offences.push(`request to ${url}`);
      }
    });
    page.on("request", (request) => {
      const isCall = [origin, ...this.callable].some((its) => request.url().startsWith(`${its}/heliosdb.`));
      if (isCall && request.headers()["content-type"] !== "application/grpc-web+proto") {
        this.offences.push(`${request.url()} is called by ${request.headers()["content-type"]}`);
      }
    });
    page.on("pageerror", (error) => this.offences.push(`error: ${error.stack ?? error.message}`));
    page.on("console", (message) => {
      if (/content security policy/i.test(message.text())) {
        this.offences.push(message.text());
      }
    });
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    if (before !== undefined) {
      await page.addInitScript(before);
    }
    await page.goto(origin + path);
    return page;
  }

  /** Closes the pages that a test has left open: each keeps one of the six connections to its member. The first one is nobody's. */
  async leave(): Promise<void> {
    await Promise.all(this.#context.pages().slice(1).map((page) => page.close()));
  }

  async close(): Promise<void> {
    await this.#context.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Waits until the page follows the service. */
export async function live(page: Page): Promise<void> {
  await page.locator('[data-phase="live"]').waitFor();
}
