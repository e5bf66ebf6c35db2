"""What is asked of the hub: one question about a repository before a download, and where its files are."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import msgspec

from mlx_sidecar import __version__
from mlx_sidecar.errors import BadToken, HubError, InvalidParams, NoConnection
from mlx_sidecar.hub.failures import MOST_TRIES, BrokenOff, of_response
from mlx_sidecar.hub.messages import Order
from mlx_sidecar.hub.plan import Plan, PlannedFile, is_safe, plan_of
from mlx_sidecar.hub.web import Answer, Web
from mlx_sidecar.models.hugging_face_cache import check_repo_id

_MOST_BYTES = 64 * 1024 * 1024
_LONGEST_ANSWER_S = 60.0


def headers() -> dict[str, str]:
    """Who asks, and the token of the environment or of the hub's own login, if there is one.

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
        # Whatever is in that file.
        return "\N{REPLACEMENT CHARACTER}"
    except OSError:
        # Another user's login in a cache that is shared: as good as none, for what is public.
        return None
    return token


def ask_for_plan(web: Web, order: Order) -> Plan:
    """The commit, and its files with sizes and digests. Raises SidecarError."""
    from huggingface_hub import constants

    check_repo_id(order.repo_id)
    if order.revision is not None and not is_safe(order.revision):
        raise InvalidParams("field 'revision': not a branch, tag or commit", {"field": "revision"})
    if constants.HF_HUB_OFFLINE:
        raise NoConnection("HF_HUB_OFFLINE is set, which forbids downloads; unset it for this worker")
    revision = f"/revision/{quote(order.revision, safe='')}" if order.revision else ""
    url = f"{constants.ENDPOINT}/api/models/{order.repo_id}{revision}?blobs=true"
    described = _asked(web, url, f"'{order.repo_id}'", f"{constants.ENDPOINT}/{order.repo_id}")
    siblings = described.get("siblings") if isinstance(described, dict) else None
    if not isinstance(siblings, list) or not all(isinstance(each, dict) for each in siblings):
        raise HubError(f"the hub's answer about '{order.repo_id}' is no description of a model; try again later")
    return plan_of(order.repo_id, str(described.get("sha")), siblings, order.allow_patterns)


def address_of(plan: Plan, file: PlannedFile) -> str:
    """Where a file of a plan is."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{plan.repo_id}/resolve/{plan.commit}/{quote(file.path)}"


def _asked(web: Web, url: str, what: str, page: str) -> Any:
    """The hub's answer, read; a few tries where it may help. Raises SidecarError."""
    for failures in range(1, MOST_TRIES + 1):
        try:
            with web.get(url, what) as answer:
                if answer.status != 200:
                    raise of_response(answer, what, page)
                return msgspec.json.decode(_whole(answer, what))
        except BrokenOff as broken:
            broken.wait(failures, web.pause_s)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise HubError(f"{what}: the hub's answer can't be understood; try again later") from None
    raise AssertionError("unreachable")


def _whole(answer: Answer, what: str) -> bytes:
    """All of an answer, which a server may neither draw out nor fill up."""
    until, data = time.monotonic() + _LONGEST_ANSWER_S, bytearray()
    while chunk := answer.read():
        data += chunk
        if len(data) > _MOST_BYTES or time.monotonic() > until:
            raise HubError(f"{what}: the hub's answer doesn't end; try again later")
    return bytes(data)
