// Makes src/protocol.ts, and the methods in src/client.ts, from `mlx-sidecar --schema`: `node scripts/protocol.mjs src`.
// It knows the few words of JSON Schema that the worker's schema is written in, and fails on any other.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const WORKER = process.env.MLX_SIDECAR ?? fileURLToPath(new URL("../../../.venv/bin/mlx-sidecar", import.meta.url));

/** The worker's schema. */
export function schema(worker = WORKER) {
  return JSON.parse(execFileSync(worker, ["--schema"], { encoding: "utf8", maxBuffer: 1 << 26, timeout: 30_000 }));
}

const MARKS = ["  // written by scripts/protocol.mjs: begin\n", "  // written by scripts/protocol.mjs: end\n"];
/** `close`, AbortSignals and `cancelAll` stand for them. */
const WITHOUT_METHOD = new Set(["shutdown", "cancel"]);
/** Fields that the client sets itself. */
const OF_THE_CLIENT = new Set(["command", "id", "timeout_s", "stream", "progress"]);

/** The text of client.ts with a method for each command between the marks. */
export function withMethods(text, { $defs: defs }) {
  const methods = defs.request.anyOf.map(({ $ref }) => methodsOf(defs[named($ref)])).join("");
  const [before, rest] = text.split(MARKS[0]);
  return before + MARKS[0] + methods + MARKS[1] + rest.split(MARKS[1])[1];
}

function methodsOf({ properties, description, "x-command": row }) {
  const command = properties.command.enum[0];
  if (WITHOUT_METHOD.has(command)) return "";
  const [name, type] = [camel(command), JSON.stringify(command)];
  const takes = Object.keys(properties).some((field) => !OF_THE_CLIENT.has(field));
  const params = takes ? `params: Params<${type}>${row.needs_fields ? "" : " = {}"}, ` : "";
  const given = takes ? "params" : "{}";
  const call = `${comment(description, "  ")}  ${name}(${params}options: CallOptions<${type}> = {}): Promise<Responses[${type}]> {
    return this.call(${type}, ${given}, options);
  }

`;
  if (!("stream" in properties)) return call;
  return `${call}${comment(`${description} As it is written.`, "  ")}  ${name}Stream(${params}options: CallOptions<${type}> = {}): TextStream<Responses[${type}]> {
    return new TextStream((onDelta) => this.#begin(${type}, ${given}, options, onDelta));
  }

`;
}

/** The whole text of protocol.ts. */
export function typescript({ $defs: defs, "x-limits": limits }) {
  const requests = defs.request.anyOf.map(({ $ref }) => named($ref));
  const commands = new Map(requests.map((name) => [defs[name].properties.command.enum[0], name]));
  const rows = [...commands].map(([command, name]) => [command, defs[name]["x-command"]]);
  const lines = ["request", "line", "progress", "error"];
  const kinds = Object.keys(defs).filter((name) => !lines.includes(name));
  // A response line is the long form of its command's result; the line is what a caller sees.
  const inner = new Set(JSON.stringify(defs).match(/#\/\$defs\/\w+/g)?.map(named));
  const replaced = new Set(rows.map(([, row]) => row.result).filter((name) => !inner.has(name)));
  return [
    "// Made from `mlx-sidecar --schema` by scripts/protocol.mjs; a test fails when they differ.\n",
    ...kinds.filter((name) => !replaced.has(name)).map((name) => interfaceOf(defs, name)),
    map("Requests", "What each command is asked with.", commands, (name) => name),
    map("Responses", "What each command answers.", commands, (_, command) => pascal(`${command}-response`)),
    needModel(rows.filter(([, row]) => row.model === "needs").map(([command]) => command)),
    defaultLimits(limits),
    errorLine(defs.error),
    codes(defs.error.properties.code.enum),
  ].join("\n");
}

function interfaceOf(defs, name) {
  const { properties = {}, required = [], description } = defs[name];
  const answered = name.endsWith("-response");
  const fields = Object.entries(properties).map(([field, type]) => {
    // A field of an answer that has a default is always there.
    const there = required.includes(field) || (answered && "default" in type);
    return `${comment(remark(type, answered), "  ")}  ${field}${there ? "" : "?"}: ${typeOf(type)};\n`;
  });
  return `${comment(description)}export interface ${pascal(name)} {\n${fields.join("")}}\n`;
}

function typeOf(type) {
  if (type.$ref) return pascal(named(type.$ref));
  if (type.anyOf) return [...new Set(type.anyOf.map(typeOf))].join(" | ");
  if ("const" in type) return JSON.stringify(type.const);
  if (type.enum) return type.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (type.type === "array") return `ReadonlyArray<${typeOf(type.items ?? {})}>`;
  const plain = { string: "string", boolean: "boolean", null: "null", integer: "number", number: "number" };
  if (type.type === "object" && !type.properties) {
    const values = typeof type.additionalProperties === "object" ? typeOf(type.additionalProperties) : "unknown";
    return `{ readonly [name: string]: ${values} }`;
  }
  if (type.type === undefined) return "unknown";
  if (!(type.type in plain)) throw new Error(`the generator doesn't know ${JSON.stringify(type)}`);
  return plain[type.type];
}

function remark({ description, default: standard }, answered) {
  const stated = answered || standard === undefined || standard === null ? "" : `default ${JSON.stringify(standard)}`;
  return [description, stated].filter(Boolean).join("; ");
}

function errorLine({ properties, required }) {
  const fields = Object.entries(properties).map(([field, type]) => {
    const shown = field === "code" ? "ErrorCode" : typeOf(type);
    return `${comment(type.description, "  ")}  ${field}${required.includes(field) ? "" : "?"}: ${shown};\n`;
  });
  return `/** The line that ends a request that failed. */\nexport interface ErrorLine {\n${fields.join("")}}\n`;
}

const needModel = (commands) => `/** Commands that can't be answered without a model. */
export const NEED_MODEL: ReadonlySet<keyof Requests> = new Set([${commands.map((name) => JSON.stringify(name)).join(", ")}] as const);
`;

const defaultLimits = (limits) => `/** The worker's limits where no flag sets others; \`checkAvailability\` says which are in force. */
export const DEFAULT_LIMITS = ${JSON.stringify(limits, null, 2)} as const;
`;

const codes = (all) => `/** What can go wrong, as the worker says it. */
export type ErrorCode =\n${all.map((code) => `  | ${JSON.stringify(code)}`).join("\n")};\n`;

const map = (name, description, commands, valueOf) =>
  `/** ${description} */\nexport interface ${name} {\n${[...commands]
    .map(([command, request]) => `  ${JSON.stringify(command)}: ${valueOf(request, command)};\n`)
    .join("")}}\n`;

const comment = (words, indent = "") => (words ? `${indent}/** ${words.replaceAll("*/", "* /")} */\n` : "");
const named = (reference) => reference.slice(reference.lastIndexOf("/") + 1);
const camel = (name) => name.replaceAll(/-([a-z])/g, (_, letter) => letter.toUpperCase());
const pascal = (name) => name.replaceAll(/(?:^|-)([a-z])/g, (_, letter) => letter.toUpperCase());

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [client, worker] = [`${process.argv[2]}/client.ts`, schema()];
  writeFileSync(`${process.argv[2]}/protocol.ts`, typescript(worker));
  writeFileSync(client, withMethods(readFileSync(client, "utf8"), worker));
}
