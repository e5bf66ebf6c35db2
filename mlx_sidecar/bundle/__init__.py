"""`python -m mlx_sidecar.bundle`: the worker as a folder that an app ships, with a Python of its own.

Nothing here is imported by the worker, and nothing of it is in a bundle but
the few lines of `start`.
"""
