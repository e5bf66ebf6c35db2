"""Multiples of a number as text: all those within limits if they are few, else by the digits that they end with.

llguidance counts `multipleOf` in remainders. Limits beside it multiply these, until a step runs out of fuel in the
middle of an answer (20,011 from 1 to 10^9), and beside a fraction they are divided as doubles: 0.3 is no multiple of
0.1 then. So fractions and large multiples are written here, wherever an expression can say them (llguidance 1.9,
2026-11-29).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from math import lcm
from typing import Any

from mlx_sidecar.engine.json_schema.numbers import Range, exact

MOST_REMAINDERS = 5_000
"""That llguidance counts with whatever the limits: of primes beside limits 9,973 is too much."""

MOST_REMAINDERS_WITHOUT_LIMITS = 100_000
"""99,991 take 0.35 s and 37 MB, ten times as many 6 s and 380 MB."""

_MOST_ALTERNATIVES = 1_000


def is_counted(multiple: Any) -> bool:
    """Whether llguidance can count in it, also beside limits."""
    step = exact(multiple)
    return step == step.to_integral_value() and step <= MOST_REMAINDERS


def common_step(multiples: list[Any], *, whole: bool) -> Decimal:
    """The number of which all numbers are multiples that are multiples of each of these."""
    steps = [*map(exact, multiples), *([Decimal(1)] if whole else [])]
    places = max(0, *(-int(each.normalize().as_tuple().exponent) for each in steps))
    return Decimal(lcm(*(int(each.scaleb(places)) for each in steps))).scaleb(-places)


def some_multiples(within: Range, step: Decimal) -> list[Decimal] | None:
    """All multiples within limits. None where they are too many."""
    if within.low is None or within.high is None:
        return None
    first = int((within.low / step).to_integral_value(ROUND_CEILING))
    last = int((within.high / step).to_integral_value(ROUND_FLOOR))
    first += first * step == within.low and not within.with_low
    last -= last * step == within.high and not within.with_high
    return [number * step for number in range(first, last + 1)] if last - first < _MOST_ALTERNATIVES else None


def spelled(value: Decimal, *, whole: bool) -> str:
    """What a number looks like, as an expression."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace(".", r"\.") + ("" if whole or "." in text else r"(\.0)?")


def endings(step: Decimal, *, whole: bool) -> str | None:
    """What the multiples look like, but for zeros at the front. None where their ends don't tell them."""
    _, digits, exponent = step.normalize().as_tuple()
    counted, tens = int("".join(map(str, digits))), int(exponent)
    length = _digits_that_tell(counted)
    if length is None or 10**length // counted > _MOST_ALTERNATIVES:
        return None
    ends = [f"{each:0{length}}" if length else "" for each in range(0, 10**length, counted)]
    if tens >= 0:
        shorter = [str(int(each)) for each in ends if each and int(each)]
        text = f"-?(0|[0-9]*({'|'.join(ends)}){'0' * tens}" if length else f"-?(0|[0-9]+{'0' * tens}"
        return f"{text}{''.join(f'|{each}' + '0' * tens for each in shorter)})" + ("" if whole else r"(\.0+)?")
    places = -tens
    if length > places:
        return f"-?({'|'.join(_across(each, places) for each in ends)})"
    free = places - length
    fractions = [f"[0-9]{{{free}}}{each.rstrip('0')}0*" for each in ends if each.strip("0")]
    return rf"-?[0-9]+(\.({'|'.join([f'[0-9]{{0,{free}}}0*', *fractions])}))?"


def _across(end: str, places: int) -> str:
    """Digits on both sides of the point."""
    before, behind = end[:-places], end[-places:].rstrip("0")
    whole = f"([0-9]*{before}|{int(before)})"
    return rf"{whole}\.{behind}0*" if behind else rf"{whole}(\.0+)?"


def _digits_that_tell(counted: int) -> int | None:
    """How many digits at its end tell whether a number is a multiple. None where all of them are needed."""
    powers = []
    for factor in (2, 5):
        power = 0
        while counted % factor == 0:
            counted, power = counted // factor, power + 1
        powers.append(power)
    return max(powers) if counted == 1 else None
