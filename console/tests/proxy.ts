import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";

/** Proxy stands between the browser and a member, as those of networks do, and misbehaves on demand. */
export class Proxy {
  /** Streams are cut when they are so old, in milliseconds; 0: never. */
  cutAfter = 0;
  /** Answers calls by itself with this status, if their path has this part. */
  refuse: { readonly part: string; readonly status: number } | undefined;
  /** Answers 401 to calls, and to /metrics, without this token. */
  token: string | undefined;
  /** Carries the next call whose path has this part out, loses the answer, and refuses further ones. */
  swallow: string | undefined;
  /** Holds the answer of the next call whose path has this part back for so long. */
  hold: { readonly part: string; readonly millis: number } | undefined;
  /** So many answers were held back, and then given. */
  released = 0;
  /** So many streams were cut. */
  cuts = 0;
  readonly #server: Server;

  /** Passes on to this address, which may change. */
  constructor(public target: string) {
    this.#server = createServer((asked, answer) => this.#pass(asked, answer));
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const { port } = this.#server.address() as { port: number };
    return `http://127.0.0.1:${port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #pass(asked: IncomingMessage, answer: ServerResponse): void {
    if (this.refuse !== undefined && asked.url?.includes(this.refuse.part)) {
      asked.resume();
      answer.writeHead(this.refuse.status).end();
      return;
    }
    const isPage = !/^\/(heliosdb|metrics)/.test(asked.url ?? "");
    if (this.token !== undefined && !isPage && asked.headers.authorization !== `Bearer ${this.token}`) {
      asked.resume();
      answer.writeHead(401).end();
      return;
    }
    const swallowed = this.swallow !== undefined && asked.url?.includes(this.swallow) === true;
    if (swallowed) {
      this.refuse = { part: this.swallow ?? "", status: 503 };
      this.swallow = undefined;
    }
    const held = this.hold !== undefined && asked.url?.includes(this.hold.part) ? this.hold.millis : 0;
    this.hold = held > 0 ? undefined : this.hold;
    const onward = request(this.target + asked.url, { method: asked.method, headers: asked.headers }, (its) => {
      if (swallowed) {
        its.resume().on("end", () => answer.destroy());
        return;
      }
      setTimeout(() => {
        answer.writeHead(its.statusCode ?? 502, its.headers);
        its.pipe(answer);
        this.released += held > 0 ? 1 : 0;
      }, held);
      if (this.cutAfter > 0 && asked.url?.endsWith("/Subscribe")) {
        setTimeout(() => {
          this.cuts++;
          answer.destroy();
        }, this.cutAfter);
      }
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => onward.destroy());
    asked.pipe(onward);
  }
}
