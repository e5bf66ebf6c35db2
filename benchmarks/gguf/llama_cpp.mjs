// Greedy tokens from llama.cpp: node llama_cpp.mjs NODE_MODULES MODEL.gguf STEPS
// A line of JSON in, a line of JSON out, in order: [token, …] → {tokens, tops}, where tops has the three likeliest
// tokens of each step with their probabilities.
import path from "node:path";
import readline from "node:readline";
import { pathToFileURL } from "node:url";

const [nodeModules, file, steps] = process.argv.slice(2);
const { getLlama } = await import(pathToFileURL(path.join(nodeModules, "node-llama-cpp", "dist", "index.js")).href);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" });
const model = await llama.loadModel({ modelPath: path.resolve(file) });
// One thread: llama.cpp's spin while they wait for each other, and take seconds for a token on a busy machine.
const context = await model.createContext({ contextSize: Math.min(1024, model.trainContextSize), threads: 1 });
const sequence = context.getSequence();

for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  if (!line.trim()) continue;
  await sequence.clearHistory();
  const tokens = [];
  const tops = [];
  const options = { temperature: 0, yieldEogToken: true };
  for await (const { token, probabilities } of sequence.evaluateWithMetadata(
    JSON.parse(line),
    { probabilities: true },
    options,
  )) {
    tokens.push(token);
    tops.push([...probabilities.entries()].sort((a, b) => b[1] - a[1]).slice(0, 3));
    if (tokens.length >= +steps) break;
  }
  process.stdout.write(JSON.stringify({ tokens, tops }) + "\n");
}
process.exit(0);
