"""The worker: a pure core, the front end for NDJSON, the loop that drives both, and the threads that wait."""
