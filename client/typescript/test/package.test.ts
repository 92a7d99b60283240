import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const name = "@heliosdb/metadata";

/** A project that has installed the package, and nothing else. */
const project = mkdtempSync(join(tmpdir(), "heliosmeta-package-"));
const installed = join(project, "node_modules");

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

function manifestOf(directory: string): Manifest {
  return JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as Manifest;
}

/** Installs what a package says that it depends on, as it is here: what it does not say is not there. */
function install(directory: string): void {
  const { dependencies, peerDependencies } = manifestOf(directory);
  for (const dependency of Object.keys({ ...dependencies, ...peerDependencies })) {
    const target = join(installed, dependency);
    if (!existsSync(target)) {
      mkdirSync(dirname(target), { recursive: true });
      cpSync(join(root, "node_modules", dependency), target, { recursive: true });
      install(target);
    }
  }
}

beforeAll(() => {
  // What is built is there already: `make ts-check` builds it first.
  execFileSync("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", project], { cwd: root });
  const [tarball = ""] = readdirSync(project).filter((file) => file.endsWith(".tgz"));
  const target = join(installed, name);
  mkdirSync(target, { recursive: true });
  execFileSync("tar", ["-xzf", join(project, tarball), "-C", target, "--strip-components=1"]);
  install(target);
});

afterAll(() => rmSync(project, { recursive: true, force: true }));

/** What a program has of the package, and types of it. */
const values = `import { Client, isNotFound, MetadataService, TypeKind } from "${name}";
const client = new Client({ endpoints: ["http://127.0.0.1:9000"] });
console.log(typeof client.metadata.getTable, isNotFound(undefined), MetadataService.typeName, TypeKind.INT64);
`;
const types = `import type { Frame, MetadataError, TableSchema } from "${name}";
export async function* frames(): AsyncGenerator<Frame> {
  yield* client.watch();
}
export const nameOf = (table: TableSchema | undefined): string => table?.name ?? "";
export const idOf = (error: MetadataError): string | undefined => error.requestId;
`;

/** The compiler checks the declarations of the package, too, which takes it long on a busy machine. */
const COMPILE_MS = 240_000;

describe("the package, installed", () => {
  it("is imported by Node.js by its name", () => {
    writeFileSync(join(project, "program.mjs"), values);
    const output = execFileSync(process.execPath, ["program.mjs"], { cwd: project, encoding: "utf8" });
    expect(output.trim()).toBe("function false heliosdb.metadata.v1.MetadataService 4");
  });

  it(
    "has types",
    () => {
      writeFileSync(join(project, "program.mts"), values + types);
      const compilerOptions = { module: "NodeNext", target: "ES2022", lib: ["ES2022", "DOM"], types: [], strict: true, noEmit: true };
      writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["program.mts"] }));
      const tsc = join(root, "node_modules/typescript/bin/tsc");
      const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", "."], { cwd: project, encoding: "utf8" });
      expect([stdout, status]).toEqual(["", 0]);
    },
    COMPILE_MS,
  );
});
