import { keep, kept } from "./storage.js";

/** Who the person at the console says to be; what the history shows as actor where certificates do not name one. */
const NAME_KEY = "heliosmeta.name";
/** A token that a proxy in front of the service may want. It lives as long as the tab. */
const TOKEN_KEY = "heliosmeta.token";
/** What headers can carry. */
const SENDABLE = /^[\x20-\x7e]*$/;
/** The service's own limit of an actor's name. */
const MAX_NAME = 256;

class Identity {
  name = $state(kept("localStorage", NAME_KEY));
  token = $state(kept("sessionStorage", TOKEN_KEY));

  /** Keeps both; returns what is wrong with them instead, if anything is. */
  save(name: string, token: string): string {
    if (!SENDABLE.test(name) || name.length > MAX_NAME) {
      return `The name can have at most ${MAX_NAME} letters, digits, signs and blanks of ASCII.`;
    }
    if (!SENDABLE.test(token)) {
      return "The token has characters that a header cannot carry.";
    }
    this.name = name.trim();
    this.token = token.trim();
    keep("localStorage", NAME_KEY, this.name);
    keep("sessionStorage", TOKEN_KEY, this.token);
    return "";
  }

  /** Adds both to the headers of a call. */
  sign(headers: Headers): void {
    if (this.name !== "") {
      headers.set("helios-actor", this.name);
    }
    if (this.token !== "") {
      headers.set("authorization", `Bearer ${this.token}`);
    }
  }
}

export const identity = new Identity();
