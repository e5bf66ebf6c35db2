// Answers prompts with node-llama-cpp: node node_llama_cpp.mjs NODE_MODULES MODEL.gguf
// A line of JSON in, a line of JSON out, in order: {prompt, schema, max_tokens} → {text, usage, seconds} or {error}.
import { availableParallelism } from "node:os";
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const [nodeModules, file] = process.argv.slice(2);
const { getLlama, LlamaChatSession } = await import(
  pathToFileURL(path.join(nodeModules, "node-llama-cpp", "dist", "index.js")).href
);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" });
const model = await llama.loadModel({ modelPath: path.resolve(file) });
// llama.cpp's threads spin while they wait for each other: with more of them than idle cores a token takes seconds.
const threads = Math.max(1, Math.floor(availableParallelism() / 2));
const context = await model.createContext({ contextSize: Math.min(8192, model.trainContextSize), threads });
const sequence = context.getSequence();
const grammars = new Map();

async function grammarOf(schema) {
  const name = JSON.stringify(schema);
  if (!grammars.has(name)) grammars.set(name, await llama.createGrammarForJsonSchema(schema));
  return grammars.get(name);
}

async function answer({ prompt, schema, max_tokens }) {
  const before = sequence.tokenMeter.getState();
  const begun = performance.now();
  // A session of its own for each prompt, so that nothing of another document is in it.
  const session = new LlamaChatSession({ contextSequence: sequence, autoDisposeSequence: false });
  try {
    const grammar = schema ? await grammarOf(schema) : undefined;
    const text = await session.prompt(prompt, { grammar, maxTokens: max_tokens, temperature: 0 });
    const used = sequence.tokenMeter.diff(before);
    const usage = { input_tokens: used.usedInputTokens, output_tokens: used.usedOutputTokens };
    return { text, usage, seconds: (performance.now() - begun) / 1000 };
  } catch (failed) {
    return { error: String(failed?.message ?? failed), seconds: (performance.now() - begun) / 1000 };
  } finally {
    session.dispose({ disposeSequence: false });
    await sequence.clearHistory();
  }
}

for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  if (line.trim()) process.stdout.write(JSON.stringify(await answer(JSON.parse(line))) + "\n");
}
process.exit(0);
