import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

it("is a package that Node.js imports by its name", () => {
  const program = `
    import { Client, isNotFound, MetadataService } from "@heliosdb/metadata";
    const client = new Client({ endpoints: ["http://127.0.0.1:9000"] });
    console.log(typeof client.metadata.getTable, isNotFound(undefined), MetadataService.typeName);
  `;
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  const output = execFileSync(process.execPath, ["--input-type=module", "--eval", program], { cwd, encoding: "utf8" });
  expect(output.trim()).toBe("function false heliosdb.metadata.v1.MetadataService");
});
