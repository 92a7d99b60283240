import { keep, kept } from "./service/storage.js";

const KEY = "heliosmeta.theme";

export type Wish = "system" | "light" | "dark";

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

/** Theme is light or dark: as the system wishes, unless the switch says otherwise. */
class Theme {
  wish = $state<Wish>(wishOf(kept("localStorage", KEY)));
  #dark = $state(systemIsDark.matches);
  readonly name = $derived(this.wish === "system" ? (this.#dark ? "dark" : "light") : this.wish);

  constructor() {
    systemIsDark.addEventListener("change", ({ matches }) => {
      this.#dark = matches;
      this.apply();
    });
  }

  /** Goes from system to light to dark and back. */
  next(): void {
    const order: Wish[] = ["system", "light", "dark"];
    this.wish = order[(order.indexOf(this.wish) + 1) % order.length] ?? "system";
    keep("localStorage", KEY, this.wish);
    this.apply();
  }

  apply(): void {
    document.documentElement.dataset["theme"] = this.name;
  }
}

function wishOf(text: string): Wish {
  return text === "light" || text === "dark" ? text : "system";
}

export const theme = new Theme();
