"""The model runner: the only part of the decode loop that touches MLX."""
