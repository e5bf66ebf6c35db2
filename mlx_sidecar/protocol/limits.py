"""Limits of the protocol and the defaults of those that flags set; `check-availability` says which are in force.

Settings, clients and library jobs read them here, and `--schema` carries them to clients in other languages.
"""

from __future__ import annotations

MAX_LINE_BYTES = 16 * 2**20
"""The longest request line (`--max-line-bytes`)."""

MAX_QUEUE = 1024
"""Requests in the worker (`--max-queue`)."""

MAX_CONCURRENCY = 16
"""Requests that generate at once, and sequences in the batch (`--max-concurrency`)."""

MAX_LEVELS = 1024
"""Levels of a request's JSON."""
