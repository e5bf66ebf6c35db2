"""One class per error code of the protocol.

Raise these anywhere below the worker; the worker alone turns them into error
lines. Anything else that is raised is a bug and goes out as `internal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

_CONTROLS = dict.fromkeys([*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029], " ")


class SidecarError(Exception):
    """A failure with a place on the wire.

    `message` is one sentence for a human that says what to do; `data` holds
    what a program needs to act on it. `retryable` says whether the very same
    request can work later.
    """

    code: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, data: Mapping[str, Any] | None = None) -> None:
        # It may quote what a client or a file says, and is one line all the same.
        self.message = message.translate(_CONTROLS)
        super().__init__(self.message)
        self.data = dict(data) if data else {}


class ParseError(SidecarError):
    code = "parse_error"


class InvalidRequest(SidecarError):
    code = "invalid_request"


class UnknownCommand(SidecarError):
    code = "unknown_command"


class InvalidParams(SidecarError):
    code = "invalid_params"


class MessageTooLarge(SidecarError):
    code = "message_too_large"


class DuplicateId(SidecarError):
    code = "duplicate_id"


class Overloaded(SidecarError):
    code = "overloaded"
    retryable = True


class Cancelled(SidecarError):
    code = "cancelled"
    retryable = True


class TimedOut(SidecarError):
    code = "timeout"
    retryable = True


class ShuttingDown(SidecarError):
    code = "shutting_down"


class NotAvailable(SidecarError):
    code = "not_available"


class ModelNotLoaded(SidecarError):
    code = "model_not_loaded"
    retryable = True


class ModelNotFound(SidecarError):
    code = "model_not_found"


class ModelInvalid(SidecarError):
    code = "model_invalid"


class ModelUnsupported(SidecarError):
    code = "model_unsupported"


class OutOfMemory(SidecarError):
    code = "out_of_memory"
    retryable = True


class ContextTooLong(SidecarError):
    code = "context_too_long"


class RepoNotFound(SidecarError):
    code = "repo_not_found"


class RevisionNotFound(SidecarError):
    code = "revision_not_found"


class Gated(SidecarError):
    code = "gated"


class BadToken(SidecarError):
    code = "bad_token"


class NoConnection(SidecarError):
    code = "no_connection"
    retryable = True


class RateLimited(SidecarError):
    code = "rate_limited"
    retryable = True


class HubError(SidecarError):
    code = "hub_error"
    retryable = True


class ChecksumMismatch(SidecarError):
    code = "checksum_mismatch"
    retryable = True


class DiskFull(SidecarError):
    code = "disk_full"
    retryable = True


class DestinationInvalid(SidecarError):
    code = "destination_invalid"


class DownloadBusy(SidecarError):
    code = "download_busy"
    retryable = True


class Internal(SidecarError):
    code = "internal"


KIND_OF_CODE: dict[str, type[SidecarError]] = {kind.code: kind for kind in SidecarError.__subclasses__()}
"""The class of each code."""

ERROR_CODES: tuple[str, ...] = tuple(KIND_OF_CODE)
"""Every code that can stand on the wire, in the order of protocol.md."""
