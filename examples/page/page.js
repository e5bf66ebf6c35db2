// The page: the same in Electron and in Tauri. It knows the bridge and nothing of what is behind it.
// @ts-check

/** @import { Answer, Bridge, Progress, Request } from "./types.js" */

const TEMPLATE = `
  <header>
    <h1>Notes</h1>
    <p id="model" role="status">starting …</p>
  </header>
  <section aria-label="Text">
    <textarea id="text" rows="6" spellcheck="false" aria-label="The text to read"></textarea>
    <div class="row">
      <button id="tags" class="main">Tags</button>
      <button id="summary" class="main">Summarize</button>
      <button id="stop" disabled>Stop</button>
    </div>
  </section>
  <section aria-label="Answer" aria-live="polite">
    <ul id="chips"></ul>
    <p id="answer"></p>
    <p id="problem" role="alert"></p>
  </section>
  <section aria-label="Another model" class="card">
    <label for="repo">Another model, from the Hugging Face Hub</label>
    <div class="row">
      <input id="repo" spellcheck="false" value="mlx-community/Qwen3-4B-Instruct-2507-4bit">
      <button id="download">Download</button>
      <button id="cancel" disabled>Cancel</button>
      <button id="use">Use</button>
    </div>
    <progress id="bar" max="100" value="0" aria-label="Download"></progress>
    <p id="words">&nbsp;</p>
  </section>`;

const SAMPLE = `The home team won the final with a goal in the last minute. For most of the match the visitors had been \
stronger, but their keeper made one mistake. Thousands of fans celebrated in the streets until midnight. It is the \
first cup for the team in thirty years.`;

/** @param {Bridge} bridge */
export function showPage(bridge) {
  document.body.innerHTML = `<main>${TEMPLATE}</main>`;
  const [text, repo] = [field("text"), field("repo")];
  const bar = /** @type {HTMLProgressElement} */ (element("bar"));
  text.value = SAMPLE;

  /** Which requests each stop button ends. */
  const reading = new Task(bridge, ["tags", "summary"], "stop", () => (element("problem").textContent = ""));
  const fetching = new Task(bridge, ["download", "use"], "cancel", () => (element("words").textContent = "…"));

  on("tags", async () => {
    const tags = await reading.run({ kind: "tags", content: text.value }, () => {}, problem);
    if (Array.isArray(tags)) element("chips").replaceChildren(...tags.map(chip));
  });

  on("summary", async () => {
    const answer = element("answer");
    answer.textContent = "";
    await reading.run({ kind: "summary", content: text.value }, (step) => "delta" in step && answer.append(step.delta), problem);
  });

  /** @param {Progress} step */
  const measure = (step) => {
    if (!("percent" in step)) return;
    bar.value = step.percent;
    element("words").textContent = step.words;
  };
  on("download", async () => {
    const place = await fetching.run({ kind: "download", repo: repo.value.trim() }, measure, words);
    if (place) element("words").textContent = "downloaded and verified";
  });
  on("use", async () => {
    const name = await fetching.run({ kind: "use", repo: repo.value.trim() }, measure, words);
    if (!name) return;
    element("words").textContent = "in use";
    element("model").textContent = String(name);
  });

  on("stop", () => reading.stop());
  on("cancel", () => fetching.stop());
  void bridge.ask(crypto.randomUUID(), { kind: "model" }, () => {}).then((answer) => {
    element("model").textContent = answer.ok ? String(answer.value) : answer.message;
  });
}

/** One request at a time: its buttons are off while it runs, its stop button is on. */
class Task {
  #id = "";

  /**
   * @param {Bridge} bridge
   * @param {string[]} starts
   * @param {string} stops
   * @param {() => void} clear
   */
  constructor(bridge, starts, stops, clear) {
    this.bridge = bridge;
    this.starts = starts;
    this.stops = stops;
    this.clear = clear;
  }

  /**
   * @param {Request} request
   * @param {(progress: Progress) => void} onProgress
   * @param {(message: string) => void} onProblem
   */
  async run(request, onProgress, onProblem) {
    this.#id = crypto.randomUUID();
    this.#enable(true);
    this.clear();
    const answer = await this.bridge.ask(this.#id, request, onProgress);
    this.#enable(false);
    if (answer.ok) return answer.value;
    onProblem(answer.code === "cancelled" ? "stopped" : answer.message);
    return undefined;
  }

  stop() {
    this.bridge.cancel(this.#id);
  }

  /** @param {boolean} busy */
  #enable(busy) {
    for (const name of this.starts) button(name).disabled = busy;
    button(this.stops).disabled = !busy;
  }
}

/** @param {string} message */
const problem = (message) => void (element("problem").textContent = message);

/** @param {string} message */
const words = (message) => void (element("words").textContent = message);

/** @param {string} text */
function chip(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

/** @param {string} id @returns {HTMLElement} */
function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

/** @param {string} id */
const button = (id) => /** @type {HTMLButtonElement} */ (element(id));

/** @param {string} id */
const field = (id) => /** @type {HTMLInputElement | HTMLTextAreaElement} */ (element(id));

/** @param {string} id @param {() => void} action */
const on = (id, action) => element(id).addEventListener("click", action);
