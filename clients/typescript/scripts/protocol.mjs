// Makes src/protocol.ts from `mlx-sidecar --schema`: `node scripts/protocol.mjs src/protocol.ts`.
// It knows the few words of JSON Schema that the worker's schema is written in, and fails on any other.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const WORKER = process.env.MLX_SIDECAR ?? fileURLToPath(new URL("../../../.venv/bin/mlx-sidecar", import.meta.url));

/** The worker's schema. */
export function schema(worker = WORKER) {
  return JSON.parse(execFileSync(worker, ["--schema"], { encoding: "utf8", maxBuffer: 1 << 26, timeout: 30_000 }));
}

/** The whole text of protocol.ts. */
export function typescript({ $defs: defs }) {
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

const codes = (all) => `/** What can go wrong, as the worker says it. */
export type ErrorCode =\n${all.map((code) => `  | ${JSON.stringify(code)}`).join("\n")};\n`;

const map = (name, description, commands, valueOf) =>
  `/** ${description} */\nexport interface ${name} {\n${[...commands]
    .map(([command, request]) => `  ${JSON.stringify(command)}: ${valueOf(request, command)};\n`)
    .join("")}}\n`;

const comment = (words, indent = "") => (words ? `${indent}/** ${words.replaceAll("*/", "* /")} */\n` : "");
const named = (reference) => reference.slice(reference.lastIndexOf("/") + 1);
const pascal = (name) => name.replaceAll(/(?:^|-)([a-z])/g, (_, letter) => letter.toUpperCase());

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(process.argv[2], typescript(schema()));
