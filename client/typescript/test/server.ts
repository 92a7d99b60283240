import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** The binary that `make ts-check` builds from this tree. */
const binary = fileURLToPath(new URL("../../../.tmp/heliosmeta", import.meta.url));

/** How long a server may take to begin or to end. */
const patienceMillis = 30_000;

/** Server is a real service, a cluster of one on loopback ports of its own. */
export class Server {
  readonly #directory = mkdtempSync(join(tmpdir(), "heliosmeta-ts-"));
  #process: ChildProcess | undefined;
  #log = "";
  readonly #args: readonly string[];
  #listen = "127.0.0.1:0";
  #raftListen = "127.0.0.1:0";

  /** With further arguments of serve. */
  constructor(...args: string[]) {
    this.#args = args;
  }

  /** The base URL of its API. */
  get url(): string {
    return `http://${this.#listen}`;
  }

  /** Starts the server, or starts it again: at the same address, with the same data. */
  async start(): Promise<this> {
    const ports = join(this.#directory, "ports");
    rmSync(ports, { force: true });
    const args = ["serve", "--data", join(this.#directory, "data"), "--listen", this.#listen];
    args.push("--raft-listen", this.#raftListen, "--ports-file", ports, ...this.#args);
    const running = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = running;
    process.once("exit", () => running.kill("SIGKILL"));
    for (const output of [running.stdout, running.stderr]) {
      output.on("data", (text: Buffer) => (this.#log += text.toString()));
    }
    for (const until = performance.now() + patienceMillis; performance.now() < until; await delay(20)) {
      if (running.exitCode !== null) {
        break;
      }
      const text = readIfThere(ports);
      if (text !== undefined) {
        const told = new Map(
          text
            .trim()
            .split("\n")
            .map((line) => line.split("=") as [string, string]),
        );
        this.#listen = told.get("api") ?? this.#listen;
        this.#raftListen = told.get("raft") ?? this.#raftListen;
        if (await isReady(this.url)) {
          return this;
        }
      }
    }
    throw new Error(`${binary} is not ready (was it built by \`make ts-check\`?): ${this.#log}`);
  }

  /** Ends the server by a signal and waits for its end. Its data stays. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const running = this.#process;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) {
      return;
    }
    const ended = new Promise((resolve) => running.once("exit", resolve));
    running.kill(signal);
    await ended;
  }

  /** Ends the server and deletes its data. */
  async remove(): Promise<void> {
    await this.stop("SIGKILL");
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

async function isReady(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/readyz`)).ok;
  } catch {
    return false;
  }
}
