"""What to ask the model, and what to make of its answer. Generators without any I/O or MLX in them."""
