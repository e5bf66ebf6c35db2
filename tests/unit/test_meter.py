"""What a download reports adds up, whatever its threads count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.hub.meter import Meter

TOTAL = 1000
EVENTS = st.lists(st.tuples(st.sampled_from(["found", "received", "lost"]), st.integers(0, 400)), max_size=30)


@given(EVENTS)
def test_it_never_goes_back_and_never_beyond_the_total(events: list[tuple[str, int]]) -> None:
    """Not even where bytes are thrown away and come again."""
    meter, shown = Meter(TOTAL, 3), 0
    for kind, count in events:
        {"found": meter.add_existing, "received": lambda n: meter.add_received(n, "f"), "lost": meter.discard}[kind](
            count
        )
        report = meter.report()
        assert shown <= report.downloaded_bytes <= TOTAL
        assert report.eta_s is None or report.eta_s >= 0
        shown = report.downloaded_bytes


def test_speed_is_of_the_network_alone() -> None:
    """What was on the disk came at no speed; what isn't known isn't stated."""
    meter = Meter(TOTAL, 1)
    meter.add_existing(600)
    before = meter.report()
    assert (before.downloaded_bytes, before.bytes_per_s, before.eta_s, before.file) == (600, 0, None, None)
    meter.add_received(100, "a.json")
    after = meter.report()
    assert after.bytes_per_s > 0
    assert after.eta_s is not None
    assert (after.downloaded_bytes, after.file) == (700, "a.json")


def test_bytes_that_were_there_count_as_resumed_only_while_they_are_worth_something() -> None:
    """Thrown away, they are not; what came over the network never was."""
    meter = Meter(TOTAL, 1)
    meter.add_existing(300)
    meter.add_received(200, "f")
    meter.add_existing(-300)
    meter.discard(200)
    meter.add_received(500, "f")
    assert meter.resumed_bytes == 0
    assert meter.report().downloaded_bytes == 500
