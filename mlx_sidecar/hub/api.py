"""The hub's API: one request about a repository before a download, and the addresses of its files."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import msgspec

from mlx_sidecar import __version__
from mlx_sidecar.errors import BadToken, HubError, InvalidParams, NoConnection
from mlx_sidecar.hub.failures import MAX_TRIES, RetryableError, error_from_response
from mlx_sidecar.hub.http_client import HttpClient, HttpResponse
from mlx_sidecar.hub.messages import DownloadRequest
from mlx_sidecar.hub.plan import Plan, PlannedFile, is_safe, plan_of
from mlx_sidecar.models.hugging_face_cache import check_repo_id

_MAX_BYTES = 64 * 1024 * 1024
_MAX_ANSWER_S = 60.0


def headers() -> dict[str, str]:
    """The user agent, and the token of the environment or of the hub's own login, if there is one.

    Not the library's `build_hf_headers`, which asks the hub about agents first.
    """
    token = _token()
    if token is not None and not (token.isascii() and token.isprintable()):
        raise BadToken(
            "the hub's token holds characters that none has; log in again with `hf auth login`, or set HF_TOKEN"
        )
    return {"user-agent": f"mlx-sidecar/{__version__}", **({"authorization": f"Bearer {token}"} if token else {})}


def _token() -> str | None:
    from huggingface_hub import get_token

    try:
        token: str | None = get_token()
    except UnicodeDecodeError:
        # The file holds something that isn't text.
        return "\N{REPLACEMENT CHARACTER}"
    except OSError:
        # Another user's login in a shared cache: public files need none.
        return None
    return token


def ask_for_plan(client: HttpClient, request: DownloadRequest) -> Plan:
    """The commit, and its files with sizes and digests. Raises SidecarError."""
    from huggingface_hub import constants

    check_repo_id(request.repo_id)
    if request.revision is not None and not is_safe(request.revision):
        raise InvalidParams("field 'revision': not a branch, tag or commit", {"field": "revision"})
    if constants.HF_HUB_OFFLINE:
        raise NoConnection("HF_HUB_OFFLINE is set, which forbids downloads; unset it for this worker")
    revision = f"/revision/{quote(request.revision, safe='')}" if request.revision else ""
    url = f"{constants.ENDPOINT}/api/models/{request.repo_id}{revision}?blobs=true"
    described = _asked(client, url, f"'{request.repo_id}'", f"{constants.ENDPOINT}/{request.repo_id}")
    siblings = described.get("siblings") if isinstance(described, dict) else None
    if not isinstance(siblings, list) or not all(isinstance(entry, dict) for entry in siblings):
        raise HubError(f"the hub's answer about '{request.repo_id}' is no description of a model; try again later")
    return plan_of(request.repo_id, str(described.get("sha")), siblings, request.allow_patterns, request.gguf_file)


def address_of(plan: Plan, file: PlannedFile) -> str:
    """The URL of a file of a plan."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{plan.repo_id}/resolve/{plan.commit}/{quote(file.path)}"


def _asked(client: HttpClient, url: str, what: str, page: str) -> Any:
    """The hub's decoded answer, after up to MAX_TRIES tries. Raises SidecarError."""
    for failures in range(1, MAX_TRIES + 1):
        try:
            with client.get(url, what) as answer:
                if answer.status != 200:
                    raise error_from_response(answer, what, page)
                return msgspec.json.decode(_whole(answer, what))
        except RetryableError as broken:
            broken.wait(failures, client.pause_s)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise HubError(f"{what}: the hub's answer can't be understood; try again later") from None
    raise AssertionError("unreachable")


def _whole(answer: HttpResponse, what: str) -> bytes:
    """The whole body, bounded in time and size."""
    until, data = time.monotonic() + _MAX_ANSWER_S, bytearray()
    while chunk := answer.read():
        data += chunk
        if len(data) > _MAX_BYTES or time.monotonic() > until:
            raise HubError(f"{what}: the hub's answer doesn't end; try again later")
    return bytes(data)
