/** The pages, in a file of their own: what is around them is there first. */
export const pages = import("./pages/index.js");

type Pages = Awaited<typeof pages>;

/** Screen is what is shown at a path. */
export interface Screen {
  readonly title: string;
  readonly page: keyof Pages;
  readonly props: Record<string, string>;
}

/** Finds the screen of a path. The paths are those at which the server gives the page out. */
export function screens(parts: readonly string[]): Screen {
  const [area = "", kind = "", id = ""] = parts;
  switch (`${area}/${kind}${id === "" ? "" : "/:"}`) {
    case "/":
      return screen("Overview", "OverviewPage");
    case "schema/":
      return screen("Schema", "SchemaPage");
    case "schema/new":
      return screen("Create a table", "CreateTablePage");
    case "schema/tables/:":
      return screen(`Table ${id}`, "TablePage", { id });
    case "topology/":
      return screen("Topology", "TopologyPage");
    case "topology/register":
      return screen("Register a node", "RegisterNodePage");
    case "topology/nodes/:":
      return screen(`Node ${id}`, "NodePage", { id });
    case "topology/shards/:":
      return screen(`Shard ${id}`, "ShardPage", { id });
    case "changes/":
      return screen("Changes", "ChangesPage");
    default:
      return area === "changes" && id !== ""
        ? screen(`Change ${kind} ${id}`, "ChangePage", { stream: kind, revision: id })
        : screen("Not found", "MissingPage");
  }
}

function screen(title: string, page: keyof Pages, props: Record<string, string> = {}): Screen {
  return { title, page, props };
}
