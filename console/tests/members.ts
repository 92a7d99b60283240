import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Client, Role, type Stream } from "@heliosdb/metadata";

/** The binary that `make console-check` builds from this tree. */
const binary = fileURLToPath(new URL("../../.tmp/heliosmeta", import.meta.url));

/** How long members may take to become ready, on a machine with much else to do. */
const PATIENCE_MS = 60_000;

const run = promisify(execFile);

/** Member is one process of the service. */
export class Member {
  log = "";
  #process: ChildProcess | undefined;

  constructor(
    readonly id: number,
    readonly url: string,
    readonly args: readonly string[],
  ) {}

  start(): void {
    const running = spawn(binary, ["serve", ...this.args], { stdio: ["ignore", "pipe", "pipe"] });
    for (const output of [running.stdout, running.stderr]) {
      output.on("data", (text: Buffer) => (this.log += text.toString()));
    }
    process.once("exit", () => running.kill("SIGKILL"));
    this.#process = running;
  }

  /** Ends the process at once, and waits for its end. */
  async kill(): Promise<void> {
    const running = this.#process;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) {
      return;
    }
    const ended = new Promise((resolve) => running.once("exit", resolve));
    running.kill("SIGKILL");
    await ended;
  }

  async ready(): Promise<void> {
    await eventually(`member ${this.id} to be ready`, async () => (await fetch(`${this.url}/readyz`)).ok);
  }
}

/** A member that is a cluster by itself, with its data in that directory. */
export async function loneMember(directory: string, ...args: string[]): Promise<Member> {
  const [api, raft] = await freePorts(2);
  const listen = `127.0.0.1:${api}`;
  return new Member(1, `http://${listen}`, ["--listen", listen, "--raft-listen", `127.0.0.1:${raft}`, "--data", directory, ...args]);
}

/** Cluster is three members on loopback. */
export class Cluster {
  readonly members: readonly Member[];
  readonly client: Client;
  readonly #directory: string;

  private constructor(directory: string, members: readonly Member[]) {
    this.#directory = directory;
    this.members = members;
    this.client = new Client({ endpoints: members.map(({ url }) => url), timeoutMs: 30_000 });
  }

  static async start(): Promise<Cluster> {
    const directory = mkdtempSync(join(tmpdir(), "heliosmeta-console-"));
    const ports = await freePorts(6);
    const peers = [1, 2, 3].map((id) => `${id}=127.0.0.1:${ports[id - 1]}`).join(",");
    const members = [1, 2, 3].map((id) => {
      const listen = `127.0.0.1:${ports[id + 2]}`;
      return new Member(id, `http://${listen}`, ["--node-id", `${id}`, "--peers", peers, "--listen", listen, "--data", join(directory, `${id}`)]);
    });
    members.forEach((member) => member.start());
    try {
      await Promise.all(members.map((member) => member.ready()));
    } catch (error) {
      throw new Error(`${String(error)}: ${members.map(({ log }) => log).join("\n")}`, { cause: error });
    }
    return new Cluster(directory, members);
  }

  /** The member that leads a stream. */
  async leader(stream: Stream): Promise<Member> {
    let found: Member | undefined;
    await eventually("a leader", async () => {
      const { members } = await this.client.cluster.status({});
      const its = members.find(({ streams }) => streams.some((s) => s.stream === stream && s.role === Role.LEADER));
      found = this.members.find(({ id }) => BigInt(id) === its?.memberId);
      return found !== undefined;
    });
    return found as Member;
  }

  /** Runs a command of the command line against all members. */
  async command(...args: string[]): Promise<string> {
    const endpoints = this.members.map(({ url }) => url.replace("http://", "")).join(",");
    const { stdout } = await run(binary, [...args, "--endpoints", endpoints, "--timeout", "30s"]);
    return stdout;
  }

  async stop(): Promise<void> {
    this.client.close();
    await Promise.all(this.members.map((member) => member.kill()));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Waits until something is so. */
export async function eventually(what: string, isSo: () => Promise<boolean>): Promise<void> {
  let last: unknown;
  for (const until = performance.now() + PATIENCE_MS; performance.now() < until; await delay(50)) {
    try {
      if (await isSo()) {
        return;
      }
    } catch (error) {
      last = error;
    }
  }
  throw new Error(`waited in vain for ${what}`, { cause: last });
}

/** Ports that were free a moment ago, none of them twice. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
    }),
  );
  return Promise.all(
    servers.map((server) => {
      const { port } = server.address() as { port: number };
      return new Promise<number>((resolve) => server.close(() => resolve(port)));
    }),
  );
}
