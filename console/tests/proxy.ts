import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";

/** Proxy stands between the browser and a member, as those of networks do, and misbehaves on demand. */
export class Proxy {
  /** Streams are cut when they are so old, in milliseconds; 0: never. */
  cutAfter = 0;
  /** Answers calls by itself with this status, if their path has this part. */
  refuse: { readonly part: string; readonly status: number } | undefined;
  /** So many streams were cut. */
  cuts = 0;
  readonly #target: string;
  readonly #server: Server;

  constructor(target: string) {
    this.#target = target;
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
    const onward = request(this.#target + asked.url, { method: asked.method, headers: asked.headers }, (its) => {
      answer.writeHead(its.statusCode ?? 502, its.headers);
      its.pipe(answer);
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
