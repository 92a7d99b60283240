import "./styles.css";
import "./controls.css";

import { mount } from "svelte";

import App from "./App.svelte";
import { session } from "./live/session.svelte.js";
import { theme } from "./theme.svelte.js";

theme.apply();
void session.run();

const target = document.getElementById("app");
if (target !== null) {
  target.replaceChildren();
  mount(App, { target });
}
