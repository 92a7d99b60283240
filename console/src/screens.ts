import type { Component } from "svelte";

import ChangePage from "./pages/ChangePage.svelte";
import ChangesPage from "./pages/ChangesPage.svelte";
import CreateTablePage from "./pages/CreateTablePage.svelte";
import MissingPage from "./pages/MissingPage.svelte";
import NodePage from "./pages/NodePage.svelte";
import OverviewPage from "./pages/OverviewPage.svelte";
import RegisterNodePage from "./pages/RegisterNodePage.svelte";
import SchemaPage from "./pages/SchemaPage.svelte";
import ShardPage from "./pages/ShardPage.svelte";
import TablePage from "./pages/TablePage.svelte";
import TopologyPage from "./pages/TopologyPage.svelte";

/** Screen is what is shown at a path. */
export interface Screen {
  readonly title: string;
  readonly page: Component<Record<string, string>>;
  readonly props: Record<string, string>;
}

/** Finds the screen of a path. The paths are those at which the server gives the page out. */
export function screens(parts: readonly string[]): Screen {
  const [area = "", kind = "", id = ""] = parts;
  switch (`${area}/${kind}${id === "" ? "" : "/:"}`) {
    case "/":
      return screen("Overview", OverviewPage);
    case "schema/":
      return screen("Schema", SchemaPage);
    case "schema/new":
      return screen("Create a table", CreateTablePage);
    case "schema/tables/:":
      return screen(`Table ${id}`, TablePage, { id });
    case "topology/":
      return screen("Topology", TopologyPage);
    case "topology/register":
      return screen("Register a node", RegisterNodePage);
    case "topology/nodes/:":
      return screen(`Node ${id}`, NodePage, { id });
    case "topology/shards/:":
      return screen(`Shard ${id}`, ShardPage, { id });
    case "changes/":
      return screen("Changes", ChangesPage);
    default:
      return area === "changes" && id !== ""
        ? screen(`Change ${kind} ${id}`, ChangePage, { stream: kind, revision: id })
        : screen("Not found", MissingPage);
  }
}

function screen(title: string, page: unknown, props: Record<string, string> = {}): Screen {
  return { title, page: page as Screen["page"], props };
}
