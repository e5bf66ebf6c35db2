"""Everything about MLX. The only room that imports mlx, mlx_lm, tokenizers, llguidance and jinja2.

Importing this package, `job` or `engine` imports none of those: the worker
answers before any of them is there, and loads them with the first model.
"""
