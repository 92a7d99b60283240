/** Route is where the page is: its path in the address bar, in parts. */
class Route {
  path = $state(location.pathname);
  /** The parts of the path, decoded. */
  readonly parts = $derived(this.path.split("/").filter((part) => part !== "").map(decoded));

  constructor() {
    addEventListener("popstate", () => (this.path = location.pathname));
    document.addEventListener("click", (event) => this.#clicked(event));
  }

  go(path: string): void {
    if (path !== location.pathname) {
      history.pushState(null, "", path);
    }
    this.path = path;
    scrollTo(0, 0);
  }

  /** Follows links of the console without loading it again. */
  #clicked(event: MouseEvent): void {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    const address = link?.getAttribute("href"); // links in drawings have no other properties
    if (link === null || !address || !plain || event.defaultPrevented || link.hasAttribute("target")) {
      return;
    }
    const { origin, pathname, hash } = new URL(address, location.href);
    if (origin === location.origin && hash === "") {
      event.preventDefault();
      this.go(pathname);
    }
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = new Route();

/** Makes a path of parts. */
export function pathTo(...parts: (string | bigint)[]): string {
  return `/${parts.map((part) => encodeURIComponent(String(part))).join("/")}`;
}
