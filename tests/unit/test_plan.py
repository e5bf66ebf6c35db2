"""A hub's list of files becomes a plan only where nothing in it can do harm."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlx_sidecar.errors import HubError, InvalidParams
from mlx_sidecar.hub.plan import Plan, PlannedFile, is_safe, plan_of
from mlx_sidecar.hub.selection import NEVER_FETCHED

COMMIT = "c" * 40
PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "a", "C:", "~", " ", "\0", "é", "\n", ".partial", "x.json", "//", "CON"]
)


@given(st.lists(PIECES, max_size=6).map("".join))
@example("a/../../b")
@example("a\\..\\b")
def test_a_safe_path_stays_where_it_is_put(path: str) -> None:
    """On either kind of system."""
    if not is_safe(path):
        return
    for kind in (PurePosixPath, PureWindowsPath):
        pure = kind(path)
        assert not pure.is_absolute()
        assert not pure.drive
        assert not pure.root
        assert ".." not in pure.parts
        assert (kind("base") / pure).is_relative_to(kind("base"))


def listed(path: str, **changes: object) -> dict[str, object]:
    """A file as the hub lists it."""
    return {"rfilename": path, "size": 3, "blobId": "a" * 40, **changes}


@pytest.mark.parametrize(
    "entry",
    [
        listed("../x.json"),
        listed("x.json", size=-1),
        listed("x.json", size=True),
        listed("x.json", size="3"),
        listed("x.json", size=None),
        listed("x.json", blobId=None),
        listed("x.json", blobId="A" * 40),
        listed("x.json", blobId="a" * 40 + "\n"),
        listed("x.json", lfs={"sha256": "../" + "a" * 61}),
        listed("x.json", size=10**400),
        listed("x.json", size=2**60),
        listed("X.json"),
        listed("x.json/y.json"),
        listed("config.json/y.json"),
        listed("CONFIG.JSON/y.json"),
        listed(".PARTIAL/y.json"),
        listed("a\x9b.json"),
        listed("a" * 256),
        listed("é" * 128),
    ],
    ids=lambda entry: str(entry)[:60],
)
def test_a_list_that_is_odd_is_refused_whole(entry: dict[str, object]) -> None:
    """Not only the odd file."""
    with pytest.raises(HubError):
        plan_of("o/n", COMMIT, [listed("config.json"), listed("x.json"), entry], ["*"])


def test_names_that_only_look_different_are_refused() -> None:
    """File systems of macOS don't care how a letter is composed."""
    with pytest.raises(HubError):
        plan_of("o/n", COMMIT, [listed("\u00e9.json"), listed("e\u0301.json")], ["*"])


def test_a_list_without_end_is_refused_in_time_and_in_few_words() -> None:
    """Whatever is in it."""
    many = [listed(f"{number}.json") for number in range(20_000)]
    with pytest.raises(HubError):
        plan_of("o/n", COMMIT, many, ["*"])
    with pytest.raises(InvalidParams) as refused:
        plan_of("o/n", COMMIT, [listed("x" * 1_000_000 + ".py")] * 50, None)
    assert len(str(refused.value.data)) < 20_000


@pytest.mark.parametrize("commit", ["main", "", "../../x", "C" * 40])
def test_a_commit_that_is_none_is_refused(commit: str) -> None:
    """It becomes a folder's name."""
    with pytest.raises(HubError):
        plan_of("o/n", commit, [listed("config.json")], None)


@pytest.mark.parametrize("ending", NEVER_FETCHED)
def test_what_runs_is_never_fetched(ending: str) -> None:
    """Also when it is asked for, in any case."""
    with pytest.raises(InvalidParams):
        plan_of("o/n", COMMIT, [listed(f"model{ending.upper()}")], ["*"])


def test_plans_of_one_commit_can_be_joined() -> None:
    """The whole covers its parts, and nothing of another commit."""
    first, second = (PlannedFile(name, 1, letter * 40) for name, letter in (("a", "a"), ("b", "b")))
    one, both = Plan("o/n", COMMIT, (first,)), Plan("o/n", COMMIT, (first, second))
    assert one.joined_with(Plan("o/n", COMMIT, (second, first))) == both
    assert both.covers(one)
    assert not one.covers(both)
    assert not Plan("o/n", "d" * 40, both.files).covers(one)
