import { getEventListeners } from "node:events";
import { expect, it } from "vitest";

import { Life } from "../src/life.js";

it("ends what is under way, and what begins later", () => {
  const life = new Life();
  const scope = life.begin();
  life.end("closed");
  life.end("closed again");
  expect(scope.signal.reason).toBe("closed");
  expect(life.begin().signal.reason).toBe("closed");
});

it("ends a part with the caller's signal", () => {
  const life = new Life();
  const caller = new AbortController();
  const scope = life.begin(caller.signal);
  caller.abort("enough");
  expect(scope.signal.reason).toBe("enough");
  expect(life.begin(caller.signal).signal.reason).toBe("enough");
  expect(life.begin().signal.aborted).toBe(false);
});

it("lets go of what is over", () => {
  const life = new Life();
  const caller = new AbortController();
  const scope = life.begin(caller.signal);
  expect(getEventListeners(caller.signal, "abort")).toHaveLength(1);
  scope.done();
  expect(getEventListeners(caller.signal, "abort")).toHaveLength(0);
  life.end("closed");
  expect(scope.signal.aborted).toBe(false);
});
