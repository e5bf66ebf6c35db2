"""GGUF files in the worker's engine against llama.cpp and against the weights that the gguf package makes of them."""
