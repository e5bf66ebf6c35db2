// Made from `mlx-sidecar --schema` by scripts/protocol.mjs; a test fails when they differ.

/** Whether models can run here, and with what. Never an error. */
export interface CheckAvailability {
  command: "check-availability";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
}

/** Load a model, replacing the one that is loaded. */
export interface LoadModel {
  command: "load-model";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** a model folder, a GGUF file, or `demo` */
  model_path?: string | null;
  /** a repository in the local Hugging Face cache; never fetched */
  repo_id?: string | null;
  /** of the repository or folder: the file, or the first of a split set */
  gguf_file?: string | null;
  /** a folder with LoRA adapters */
  adapter_path?: string | null;
  /** tokens, prompt and answer together */
  context_length?: number | null;
  /** a file that `mlx-sidecar calibrate` made for this model */
  calibration_path?: string | null;
  /** report percent of the weights' bytes read; default false */
  progress?: boolean;
}

/** Tags for a document. */
export interface GenerateTags {
  command: "generate-tags";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** say in the response what is needed to get it again; default false */
  receipt?: boolean;
  /** 0 takes the likeliest token; default 0 */
  temperature?: number;
  /** nucleus sampling; 1 is off; default 1 */
  top_p?: number;
  /** 0 is off; default 0 */
  top_k?: number;
  /** 0 is off; default 0 */
  min_p?: number;
  /** 1 is off; looks back 20 tokens; default 1 */
  repetition_penalty?: number;
  /** the same seed, the same text */
  seed?: number | null;
  /** the document */
  content: string;
  /** default 5 */
  max_tags?: number;
  /** in scripts without blanks, four characters count as a word; default 3 */
  max_tag_words?: number;
  /** tags to prefer, or to choose from; 1 to 40 characters each */
  vocabulary?: ReadonlyArray<string> | null;
  /** with `vocabulary`; `prefer` if not given */
  vocabulary_mode?: "only" | "prefer" | null;
  /** language of the tags */
  language?: string | null;
  /** texts with the tags that they should get: the model follows their taste; default [] */
  examples?: ReadonlyArray<TagsExample>;
  /** the probability of each tag that a reader accepts it, the most probable first; default false */
  scores?: boolean;
  /** no tag that scores less; implies `scores` */
  min_score?: number | null;
  /** with `vocabulary`: what each of its entries scores; implies `scores`; default false */
  all_scores?: boolean;
  /** for each tag, where in the document it comes from; default false */
  evidence?: boolean;
}

/** A text, and the tags that it should get. */
export interface TagsExample {
  content: string;
  tags: ReadonlyArray<string>;
}

/** A summary of a document. */
export interface Summarize {
  command: "summarize";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** say in the response what is needed to get it again; default false */
  receipt?: boolean;
  /** 0 takes the likeliest token; default 0 */
  temperature?: number;
  /** nucleus sampling; 1 is off; default 1 */
  top_p?: number;
  /** 0 is off; default 0 */
  top_k?: number;
  /** 0 is off; default 0 */
  min_p?: number;
  /** 1 is off; looks back 20 tokens; default 1 */
  repetition_penalty?: number;
  /** the same seed, the same text */
  seed?: number | null;
  /** the document */
  content: string;
  /** default "sentence" */
  style?: "bullets" | "paragraph" | "sentence";
  /** never exceeded */
  max_words?: number | null;
  /** language of the summary */
  language?: string | null;
  /** texts with the summaries that they should get: the model follows their style; default [] */
  examples?: ReadonlyArray<SummaryExample>;
  /** for each sentence, on which of the document's it rests; default false */
  evidence?: boolean;
  /** send the text as it comes, as `delta` progress lines; default false */
  stream?: boolean;
}

/** A text, and the summary that it should get. */
export interface SummaryExample {
  content: string;
  summary: string;
}

/** Which of these labels fits a document, with probabilities. */
export interface Classify {
  command: "classify";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** say in the response what is needed to get it again; default false */
  receipt?: boolean;
  /** the document */
  content: string;
  /** no two alike */
  labels: ReadonlyArray<string | Label>;
  /** any number of labels may fit, instead of exactly one; default false */
  multi?: boolean;
  /** with `multi`: 0.5 if not given */
  min_score?: number | null;
  /** texts with the labels that they should get; default [] */
  examples?: ReadonlyArray<LabelExample>;
  /** for each label that fits, where in the document it comes from; default false */
  evidence?: boolean;
}

/** A label, and in words what it stands for. */
export interface Label {
  name: string;
  /** default "" */
  description?: string;
}

/** A text, and the label that it should get, or with `multi` the labels. */
export interface LabelExample {
  content: string;
  label?: string | null;
  labels?: ReadonlyArray<string> | null;
}

/** Fetch a model from the Hugging Face Hub. */
export interface DownloadModel {
  command: "download-model";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** owner/name */
  repo_id: string;
  /** a folder; none is the Hugging Face cache */
  destination?: string | null;
  /** branch, tag or commit */
  revision?: string | null;
  /** only these files */
  allow_patterns?: ReadonlyArray<string> | null;
  /** this GGUF file of the repository, or the first part of a split one */
  gguf_file?: string | null;
}

/** What is loaded. */
export interface ModelInfo {
  command: "model-info";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
}

/** Finish the requests before this one, answer it last, and end. */
export interface Shutdown {
  command: "shutdown";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** what isn't done by then is cancelled; default 5 */
  grace_s?: number;
}

/** Free generation, or generation held to a JSON Schema or to a list of choices. */
export interface Generate {
  command: "generate";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** say in the response what is needed to get it again; default false */
  receipt?: boolean;
  /** 0 takes the likeliest token; default 0.7 */
  temperature?: number;
  /** nucleus sampling; 1 is off; default 1 */
  top_p?: number;
  /** 0 is off; default 0 */
  top_k?: number;
  /** 0 is off; default 0 */
  min_p?: number;
  /** 1 is off; looks back 20 tokens; default 1 */
  repetition_penalty?: number;
  /** the same seed, the same text */
  seed?: number | null;
  /** taken off the logits of tokens that the answer has already; 0 is off; default 0 */
  presence_penalty?: number;
  /** the same, once for each time that the answer has the token; 0 is off; default 0 */
  frequency_penalty?: number;
  /** what is added to the logits of these tokens, by their ids; -100 forbids a token */
  logit_bias?: { readonly [name: string]: number } | null;
  /** one user turn */
  prompt?: string | null;
  /** a conversation */
  messages?: ReadonlyArray<Message> | null;
  /** go on with the last of `messages`, an assistant's, instead of beginning a new turn; default false */
  continue_final_message?: boolean;
  /** goes before everything else */
  system?: string | null;
  /** send the text as it comes, as `delta` progress lines; default false */
  stream?: boolean;
  /** default 512 */
  max_tokens?: number;
  /** the text ends before the first of these to be complete; default [] */
  stop?: ReadonlyArray<string>;
  /** a JSON Schema that the answer obeys */
  schema?: { readonly [name: string]: unknown } | null;
  /** with `schema`; `strict` if not given. `check` takes what can only be checked afterwards */
  schema_mode?: "check" | "strict" | null;
  /** the answer is one of these */
  choices?: ReadonlyArray<string> | null;
  /** let a thinking model think first; the reasoning comes apart from the text; default false */
  thinking?: boolean;
  /** each token with its log-probability by the model alone, in the response; default false */
  logprobs?: boolean;
  /** with `logprobs`: so many of the likeliest tokens beside each; default 0 */
  top_logprobs?: number;
  /** with `logprobs`: beside them those of what penalties and constraint leave; default false */
  constrained_logprobs?: boolean;
}

/** One turn of a conversation. */
export interface Message {
  role: "assistant" | "system" | "user";
  content: string;
}

/** How many tokens a text has, or a conversation as the model's chat template renders it. */
export interface CountTokens {
  command: "count-tokens";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** a text, without what a template puts around it */
  text?: string | null;
  /** a conversation, with the beginning of the answer */
  messages?: ReadonlyArray<Message> | null;
  /** goes before `messages` */
  system?: string | null;
}

/** End requests before their time. */
export interface Cancel {
  command: "cancel";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** an id; none is everything before this request */
  target?: string | number | null;
}

/** What the worker is doing. */
export interface Status {
  command: "status";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
}

/** Let the loaded model go. */
export interface UnloadModel {
  command: "unload-model";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
}

/** The models on this machine. */
export interface ListModels {
  command: "list-models";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** look here instead of in the Hugging Face cache */
  folder?: string | null;
}

/** Whether a model fits, from its headers: one on this machine, or one of the hub's that isn't fetched yet. */
export interface Estimate {
  command: "estimate";
  /** echoed on every line of this request */
  id?: string | number | null;
  /** seconds from acceptance, waiting included */
  timeout_s?: number | null;
  /** a model folder, a GGUF file, or `demo` */
  model_path?: string | null;
  /** a repository in the Hugging Face cache, else one of the Hugging Face Hub */
  repo_id?: string | null;
  /** branch, tag or commit of a repository, which is then the hub's */
  revision?: string | null;
  /** of the repository or folder: the file, or the first of a split set; alone, a path */
  gguf_file?: string | null;
  /** tokens that are to fit, prompt and answer together */
  context_length?: number | null;
}

export interface Memory {
  total_bytes: number;
  available_bytes: number;
}

/** The limits in force, which flags of the worker set. */
export interface Limits {
  max_line_bytes: number;
  max_queue: number;
  max_concurrency: number;
  prefix_cache_bytes: number;
  /** null: what the device has */
  memory_limit_bytes: number | null;
}

/** How the weights are packed; a field that the model doesn't state is left out. */
export interface Quantization {
  bits?: number | null;
  group_size?: number | null;
  /** as mlx-lm calls it; a GGUF file has its own name here, such as Q4_K_M */
  mode?: string | null;
}

/** What became of the tensors of one type of a GGUF file. */
export interface TensorTypeHeld {
  /** llama.cpp's name, such as Q4_K */
  type: string;
  tensors: number;
  file_bytes: number;
  memory_bytes: number;
  /** `affine` or `mxfp4` where they are still quantized, else a type of MLX */
  mode: string;
  bits?: number | null;
  group_size?: number | null;
  /** whether the values are the file's, but for the rounding of scales and numbers */
  exact: boolean;
}

export interface TagScore {
  tag: string;
  score: number;
}

/** A piece of the document to the letter, and its place in UTF-16 code units, as JavaScript counts. */
export interface Quote {
  quote: string;
  start: number;
  end: number;
}

/** What an answer depends on. Digests are SHA-256; none of the request's text is in here. */
export interface Receipt {
  /** of weights, settings and the tokenizer's files */
  model_digest: string;
  adapter_digest?: string;
  /** of the chat template */
  template_digest: string;
  /** of the file of `calibration_path` */
  calibration_digest?: string;
  /** of the words and examples that tasks are asked with */
  prompt_version: string;
  /** of the request's texts */
  input_digest: string;
  /** the request's other fields, with their defaults */
  options: { readonly [name: string]: unknown };
  /** also where the request had none and tokens were drawn */
  seed: number | null;
  /** of which a long document's parts depend */
  context_length: number;
  versions: Versions;
  device: string;
}

export interface Versions {
  mlx_sidecar: string;
  mlx: string;
  mlx_lm: string;
}

/** Tokens; `chunks` is the number of parts that the document was read in. */
export interface Usage {
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  chunks: number;
  /** where a constraint held: at how many tokens it forbade what the model would have taken */
  overruled_tokens?: number;
}

/** Waiting, until the first token, from there to the last, all together; tokens a second while decoding. */
export interface Timing {
  queue_s: number;
  prefill_s: number;
  decode_s: number;
  total_s: number;
  tokens_per_s: number;
}

/** A sentence of a summary, and up to three pieces of the document that it rests on; none is no evidence. */
export interface SentenceEvidence {
  sentence: string;
  sources: ReadonlyArray<Quote>;
}

export interface LabelScore {
  label: string;
  score: number;
}

/** A token that was chosen. Natural logarithms of the model's own distribution. */
export interface TokenScore {
  text: string;
  logprob: number;
  /** where the token alone isn't whole characters */
  bytes?: ReadonlyArray<number>;
  /** with `top_logprobs`, likeliest first */
  top?: ReadonlyArray<TopToken>;
  /** with `constrained_logprobs`: after penalties and constraint */
  constrained_logprob?: number;
  /** the same for `top`; only tokens that the constraint allows */
  constrained_top?: ReadonlyArray<TopToken>;
}

/** A token that might have been chosen. */
export interface TopToken {
  text: string;
  logprob: number;
  /** where the token alone isn't whole characters */
  bytes?: ReadonlyArray<number>;
}

export interface DeviceMemory {
  active_bytes: number;
  peak_bytes: number;
  cache_bytes: number;
}

export interface PrefixCacheStatus {
  entries: number;
  bytes: number;
  budget_bytes: number;
}

export interface RequestStatus {
  id: string | number | null;
  command: string;
  state: "queued" | "running";
  tokens: number;
}

/** One download in `status`. */
export interface DownloadStatus {
  repo_id: string;
  destination: string | null;
  state: "queued" | "running";
  downloaded_bytes: number;
  total_bytes: number | null;
}

export interface ListedModel {
  name: string;
  path: string;
  repo_id?: string;
  revision?: string;
  /** of the repository, where the model is one */
  gguf_file?: string;
  size_bytes: number;
  model_type: string | null;
  quantization: Quantization | null;
  complete: boolean;
}

/** A measure of how far a request is, 0 to 100. */
export interface Measure {
  progress: number;
  chunks_done?: number;
  chunks_total?: number;
}

/** How far a download is. Bytes count what was there before; `bytes_per_s` only what comes over the network. */
export interface DownloadMeasure {
  progress: number;
  chunks_done?: number;
  chunks_total?: number;
  downloaded_mb: number;
  total_mb: number;
  downloaded_bytes: number;
  total_bytes: number;
  bytes_per_s: number;
  eta_s: number | null;
  file: string | null;
  files_done: number;
  files_total: number;
  /** nothing has come for so long */
  stalled_s?: number;
}

/** A piece of the text; all pieces together are exactly the text. */
export interface Delta {
  delta: string;
}

export interface CheckAvailabilityResponse {
  type: "response";
  command: "check-availability";
  id?: string | number;
  available: boolean;
  /** why not */
  reason?: string;
  protocol: number;
  version: string;
  mlx_version: string | null;
  mlx_lm_version: string | null;
  device: "cpu" | "gpu";
  device_name: string;
  memory: Memory;
  limits: Limits;
  commands: ReadonlyArray<string>;
  warnings?: ReadonlyArray<string>;
}

export interface LoadModelResponse {
  type: "response";
  command: "load-model";
  id?: string | number;
  model_name: string;
  param_count: number;
  model_type: string;
  quantization: Quantization | null;
  context_length: number;
  memory_bytes: number;
  load_s: number;
  path: string;
  adapter_path: string | null;
  /** the file that it stands in, `mlx-lm` where that brings it; null: there is none */
  chat_template?: string | null;
  /** whether `generate` takes `thinking` */
  can_think?: boolean;
  /** what the model's folder says of itself */
  description?: string;
  calibration_path?: string;
  /** of a GGUF file: what became of each type of tensor */
  tensor_types?: ReadonlyArray<TensorTypeHeld>;
  success: boolean;
  warnings?: ReadonlyArray<string>;
}

export interface GenerateTagsResponse {
  type: "response";
  command: "generate-tags";
  id?: string | number;
  tags: ReadonlyArray<string>;
  /** with `scores`: one for each tag, 0 to 1 */
  scores?: ReadonlyArray<number>;
  /** with `all_scores`: each entry once, the most probable first */
  vocabulary_scores?: ReadonlyArray<TagScore>;
  /** with `scores`: by what they are probabilities */
  calibrated?: "default" | boolean;
  /** with `evidence`: up to three for each tag, or none */
  evidence?: ReadonlyArray<ReadonlyArray<Quote>>;
  /** with `receipt` */
  receipt?: Receipt;
  usage: Usage;
  timing: Timing;
  warnings?: ReadonlyArray<string>;
}

export interface SummarizeResponse {
  type: "response";
  command: "summarize";
  id?: string | number;
  summary: string;
  /** with `evidence` */
  evidence?: ReadonlyArray<SentenceEvidence>;
  finish_reason: "length" | "stop";
  /** with `receipt` */
  receipt?: Receipt;
  usage: Usage;
  timing: Timing;
  warnings?: ReadonlyArray<string>;
}

export interface ClassifyResponse {
  type: "response";
  command: "classify";
  id?: string | number;
  /** without `multi`: the most probable one */
  label?: string;
  /** with `multi`: those that score `min_score` or more */
  labels?: ReadonlyArray<string>;
  /** each label once, the most probable first; without `multi` their sum is 1 */
  scores: ReadonlyArray<LabelScore>;
  calibrated: "default" | boolean;
  /** with `evidence`: for `label`, or each of `labels` */
  evidence?: ReadonlyArray<ReadonlyArray<Quote>>;
  /** with `receipt` */
  receipt?: Receipt;
  usage: Usage;
  timing: Timing;
  warnings?: ReadonlyArray<string>;
}

export interface DownloadModelResponse {
  type: "response";
  command: "download-model";
  id?: string | number;
  success: boolean;
  destination: string;
  repo_id: string;
  revision: string;
  files: number;
  total_bytes: number;
  resumed_bytes: number;
  verified: boolean;
  warnings?: ReadonlyArray<string>;
}

export interface ModelInfoResponse {
  type: "response";
  command: "model-info";
  id?: string | number;
  model_name: string;
  param_count: number;
  model_type: string;
  quantization: Quantization | null;
  context_length: number;
  memory_bytes: number;
  load_s: number;
  path: string;
  adapter_path: string | null;
  /** the file that it stands in, `mlx-lm` where that brings it; null: there is none */
  chat_template?: string | null;
  /** whether `generate` takes `thinking` */
  can_think?: boolean;
  /** what the model's folder says of itself */
  description?: string;
  calibration_path?: string;
  /** of a GGUF file: what became of each type of tensor */
  tensor_types?: ReadonlyArray<TensorTypeHeld>;
  warnings?: ReadonlyArray<string>;
}

export interface ShutdownResponse {
  type: "response";
  command: "shutdown";
  id?: string | number;
  success: boolean;
  warnings?: ReadonlyArray<string>;
}

export interface GenerateResponse {
  type: "response";
  command: "generate";
  id?: string | number;
  text: string;
  /** with `schema`: the parsed text; null where it isn't whole */
  json?: unknown;
  /** with `schema_mode` "check": what of the schema a whole answer breaks, absent where nothing */
  schema_violations?: ReadonlyArray<string>;
  /** with `thinking` */
  reasoning?: string;
  /** with `logprobs`; of all tokens but the end token */
  logprobs?: ReadonlyArray<TokenScore>;
  finish_reason: "length" | "stop";
  /** with `receipt` */
  receipt?: Receipt;
  usage: Usage;
  timing: Timing;
  warnings?: ReadonlyArray<string>;
}

export interface CountTokensResponse {
  type: "response";
  command: "count-tokens";
  id?: string | number;
  tokens: number;
  warnings?: ReadonlyArray<string>;
}

export interface CancelResponse {
  type: "response";
  command: "cancel";
  id?: string | number;
  cancelled: number;
  warnings?: ReadonlyArray<string>;
}

export interface StatusResponse {
  type: "response";
  command: "status";
  id?: string | number;
  state: "generating" | "idle" | "loading";
  model: string | null;
  uptime_s: number;
  cpu_percent: number;
  memory_bytes: number;
  device_memory: DeviceMemory;
  prefix_cache: PrefixCacheStatus;
  running: number;
  queued: number;
  requests: ReadonlyArray<RequestStatus>;
  downloads: ReadonlyArray<DownloadStatus>;
  tokens_per_s: number;
  warnings?: ReadonlyArray<string>;
}

export interface UnloadModelResponse {
  type: "response";
  command: "unload-model";
  id?: string | number;
  success: boolean;
  freed_bytes: number;
  warnings?: ReadonlyArray<string>;
}

export interface ListModelsResponse {
  type: "response";
  command: "list-models";
  id?: string | number;
  models: ReadonlyArray<ListedModel>;
  warnings?: ReadonlyArray<string>;
}

export interface EstimateResponse {
  type: "response";
  command: "estimate";
  id?: string | number;
  model_name: string;
  model_type: string;
  quantization: Quantization | null;
  weight_bytes: number;
  /** of a sequence; layers with a window stop growing there */
  cache_bytes_per_token: number;
  /** the model's own */
  context_length: number;
  /** with the request's `context_length`, else with a short one */
  fits: boolean;
  /** the longest that `load-model` would take; 0 where nothing fits */
  largest_context: number;
  /** that weights and caches may take */
  available_bytes: number;
  /** whether the model is on this machine */
  is_local: boolean;
  warnings?: ReadonlyArray<string>;
}

/** What each command is asked with. */
export interface Requests {
  "check-availability": CheckAvailability;
  "load-model": LoadModel;
  "generate-tags": GenerateTags;
  "summarize": Summarize;
  "classify": Classify;
  "download-model": DownloadModel;
  "model-info": ModelInfo;
  "shutdown": Shutdown;
  "generate": Generate;
  "count-tokens": CountTokens;
  "cancel": Cancel;
  "status": Status;
  "unload-model": UnloadModel;
  "list-models": ListModels;
  "estimate": Estimate;
}

/** What each command answers. */
export interface Responses {
  "check-availability": CheckAvailabilityResponse;
  "load-model": LoadModelResponse;
  "generate-tags": GenerateTagsResponse;
  "summarize": SummarizeResponse;
  "classify": ClassifyResponse;
  "download-model": DownloadModelResponse;
  "model-info": ModelInfoResponse;
  "shutdown": ShutdownResponse;
  "generate": GenerateResponse;
  "count-tokens": CountTokensResponse;
  "cancel": CancelResponse;
  "status": StatusResponse;
  "unload-model": UnloadModelResponse;
  "list-models": ListModelsResponse;
  "estimate": EstimateResponse;
}

/** Commands that can't be answered without a model. */
export const NEED_MODEL: ReadonlySet<keyof Requests> = new Set(["generate-tags", "summarize", "classify", "model-info", "generate", "count-tokens"] as const);

/** The worker's limits where no flag sets others; `checkAvailability` says which are in force. */
export const DEFAULT_LIMITS = {
  "max_line_bytes": 16777216,
  "max_queue": 1024,
  "max_concurrency": 16,
  "max_levels": 1024
} as const;

/** The line that ends a request that failed. */
export interface ErrorLine {
  type: "error";
  /** a command's name as it was sent, or 'unknown' */
  command: string;
  id?: string | number;
  /** one sentence that says what to do */
  error: string;
  code: ErrorCode;
  /** whether the very same request can work later */
  retryable: boolean;
  data?: { readonly [name: string]: unknown };
}

/** What can go wrong, as the worker says it. */
export type ErrorCode =
  | "parse_error"
  | "invalid_request"
  | "unknown_command"
  | "invalid_params"
  | "message_too_large"
  | "duplicate_id"
  | "overloaded"
  | "cancelled"
  | "timeout"
  | "shutting_down"
  | "not_available"
  | "model_not_loaded"
  | "model_not_found"
  | "model_invalid"
  | "model_unsupported"
  | "out_of_memory"
  | "context_too_long"
  | "repo_not_found"
  | "revision_not_found"
  | "gated"
  | "bad_token"
  | "no_connection"
  | "rate_limited"
  | "hub_error"
  | "checksum_mismatch"
  | "disk_full"
  | "destination_invalid"
  | "download_busy"
  | "internal";
