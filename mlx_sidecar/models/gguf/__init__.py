"""GGUF files: what their headers say, and what becomes of their tensors. Imports neither MLX nor NumPy."""
