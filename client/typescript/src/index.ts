export { Client, type ClientOptions } from "./client.js";
export * from "./proto.js";
