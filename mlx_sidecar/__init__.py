"""mlx-sidecar: a worker process that gives a desktop app a language model of its own."""

__version__ = "0.1.0"
