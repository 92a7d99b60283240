import { connect, createServer, type AddressInfo, type Server as Listener, type Socket } from "node:net";

/** CuttingProxy carries TCP connections to a service and cuts each one after a while, as some proxies do. */
export class CuttingProxy {
  readonly #target: URL;
  readonly #cutMillis: number;
  readonly #open = new Set<Socket>();
  #listener: Listener | undefined;
  /** How many connections it has cut. */
  cuts = 0;

  constructor(target: string, cutMillis: number) {
    this.#target = new URL(target);
    this.#cutMillis = cutMillis;
  }

  /** Starts it and returns its base URL. */
  async start(): Promise<string> {
    const listener = createServer((socket) => this.#carry(socket));
    this.#listener = listener;
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
  }

  #carry(from: Socket): void {
    const to = connect(Number(this.#target.port), this.#target.hostname);
    const cut = setTimeout(() => {
      this.cuts++;
      from.destroy();
    }, this.#cutMillis);
    this.#open.add(from);
    from.on("close", () => {
      clearTimeout(cut);
      this.#open.delete(from);
      to.destroy();
    });
    to.on("close", () => from.destroy());
    for (const socket of [from, to]) {
      socket.on("error", () => socket.destroy());
    }
    from.pipe(to).pipe(from);
  }

  stop(): void {
    this.#listener?.close();
    for (const socket of this.#open) {
      socket.destroy();
    }
  }
}
