"""Numbers as text: what llguidance reads into a double would come out as another number.

Expressions for whole numbers and decimals between two limits, of any size and length; and which numbers need them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

Number = int | float | Decimal

_MOST_EXACT = 2**53
_STEP = 2_048
"""All multiples of it up to 2**63 are doubles."""
_STEP_MOST = 2**63 - _STEP
_KEPT_DIGITS = 15
"""So many digits come out of llguidance's reading as they went in; of 17, one number in ten doesn't."""


def is_number(value: Any) -> bool:
    """Whether it is one, for JSON."""
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def exact(value: Number) -> Decimal:
    """What was written."""
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Exactly, whatever their exponents."""
    if value == 0:
        return True
    (_, digits, exponent), (_, others, other) = value.normalize().as_tuple(), step.normalize().as_tuple()
    counted, counts = (int("".join(map(str, each))) for each in (digits, others))
    tens = int(exponent) - int(other)
    if tens < 0:
        return False if -tens > len(digits) else counted % (counts * 10**-tens) == 0
    return counted * pow(10, tens, counts) % counts == 0


def is_kept(value: Number) -> bool:
    """Whether llguidance holds to this very number."""
    written = exact(value)
    digits = written.normalize().as_tuple().digits
    return abs(written) <= _MOST_EXACT and (isinstance(value, int) or len(digits) <= _KEPT_DIGITS)


def is_kept_multiple(value: Number) -> bool:
    """Whether llguidance counts in this very number: it multiplies by ten until nothing is left behind the point."""
    counted, tens = float(value), 0
    while not counted.is_integer() and tens < _KEPT_DIGITS:
        counted, tens = counted * 10, tens + 1
    return is_kept(value) and counted.is_integer() and exact(value) == Decimal(counted).scaleb(-tens)


_LIMITS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))


def _further_in(low: Decimal, whole: bool) -> Decimal:
    """The least number from this one on that llguidance keeps as a limit."""
    if not whole:
        return Context(prec=_KEPT_DIGITS, rounding=ROUND_CEILING).plus(max(low, Decimal(-_MOST_EXACT)))
    if abs(low) <= _MOST_EXACT and low == low.to_integral_value():
        return low
    return Decimal(max(-(-int(low.to_integral_value(ROUND_CEILING)) // _STEP) * _STEP, -_STEP_MOST))


@dataclass
class Range:
    """Limits of a number; None for none."""

    low: Decimal | None = None
    high: Decimal | None = None
    with_low: bool = True
    with_high: bool = True
    whole: bool = False

    def narrow(self, schema: dict[str, Any]) -> None:
        """What a schema says of numbers holds as well."""
        self.whole |= schema.get("type") == "integer" or (
            isinstance(schema.get("type"), list) and "integer" in schema["type"] and "number" not in schema["type"]
        )
        for key, is_low, is_with in (
            ("minimum", True, schema.get("exclusiveMinimum") is not True),
            ("exclusiveMinimum", True, False),
            ("maximum", False, schema.get("exclusiveMaximum") is not True),
            ("exclusiveMaximum", False, False),
        ):
            if is_number(schema.get(key)):
                self._limit(exact(schema[key]), is_low, is_with)

    def _limit(self, value: Decimal, is_low: bool, is_with: bool) -> None:
        if is_low and (self.low is None or value > self.low or (value == self.low and not is_with)):
            self.low, self.with_low = value, is_with
        if not is_low and (self.high is None or value < self.high or (value == self.high and not is_with)):
            self.high, self.with_high = value, is_with

    def tightened(self) -> dict[str, Any] | None:
        """As keywords that llguidance keeps, with limits up to 2,048 further in where it wouldn't; None for none."""
        limits: dict[str, Any] = {"type": "integer" if self.whole else "number"}
        for value, sign, inclusive, exclusive, is_with in (
            (self.low, 1, "minimum", "exclusiveMinimum", self.with_low),
            (self.high, -1, "maximum", "exclusiveMaximum", self.with_high),
        ):
            if value is None:
                continue
            kept = _further_in(value * sign, self.whole) * sign
            if abs(kept) > _STEP_MOST:
                return None
            limits[inclusive if is_with or kept != value else exclusive] = (
                int(kept) if kept == int(kept) else float(kept)
            )
        low, high = (limits.get(inclusive, limits.get(exclusive)) for inclusive, exclusive in _LIMITS)
        return None if low is not None and high is not None and low > high else limits

    def expression(self) -> str | None:
        """What all numbers in it look like; None where there is none."""
        parts = [self._negative(), self._positive()]
        found = [each for each in parts if each is not None]
        return _any(found) if found else None

    def _positive(self) -> str | None:
        low, with_low = (self.low, self.with_low) if self.low is not None and self.low > 0 else (Decimal(0), True)
        if self.low is not None and self.low == 0:
            with_low = self.with_low
        return _between(low, self.high, with_low, self.with_high, self.whole)

    def _negative(self) -> str | None:
        low, with_low = (
            (self.high.copy_negate(), self.with_high)
            if self.high is not None and self.high < 0
            else (Decimal(0), False)
        )
        high = None if self.low is None else self.low.copy_negate()
        found = _between(low, high, with_low, self.with_low, self.whole)
        return None if found is None else f"-{found}"


def _between(low: Decimal, high: Decimal | None, with_low: bool, with_high: bool, whole: bool) -> str | None:
    """Of numbers that aren't negative."""
    if high is not None and (high < low or (high == low and not (with_low and with_high))):
        return None
    if whole:
        least = int(low.to_integral_value(ROUND_CEILING))
        least += least == low and not with_low
        most = None if high is None else int(high.to_integral_value(ROUND_FLOOR))
        most = most if most is None or most != high or with_high else most - 1
        return _whole(least, most)
    first, last = int(low), None if high is None else int(high)
    floor, ceiling = _fraction(low), None if high is None else _fraction(high)
    if first == last:
        return _with(str(first), _digits(floor, ceiling, with_low, with_high))
    parts = [_with(str(first), _digits(floor, None, with_low, True))]
    if last is None or last > first + 1:
        between = _whole(first + 1, None if last is None else last - 1)
        parts.append(None if between is None else rf"{between}(\.[0-9]+)?")
    if last is not None:
        parts.append(_with(str(last), _digits("", ceiling, True, with_high)))
    found = [each for each in parts if each is not None]
    return _any(found) if found else None


def _fraction(value: Decimal) -> str:
    return f"{value:f}".partition(".")[2].rstrip("0")


def _with(whole: str, digits: str | None) -> str | None:
    """A whole number, and digits behind its point; they end with "|" where there may be none."""
    if digits is None:
        return None
    optional, digits = digits.endswith("|"), digits.removesuffix("|")
    if not digits:
        return rf"{whole}(\.0+)?"
    return rf"{whole}(\.({digits}))?" if optional else rf"{whole}\.({digits})"


def _digits(low: str, high: str | None, with_low: bool, with_high: bool) -> str | None:
    """Digits behind a point, between two others; "|" at the end where there may be none of them."""
    if low == "" and high is None:
        return "[0-9]+|" if with_low else "[0-9]*[1-9][0-9]*"
    if low == "" and high == "":
        return "0+|" if with_low and with_high else None
    may_end = "|" if low == "" and with_low else ""
    least, most = int(low[:1] or 0), 9 if high is None else int(high[:1] or 0)
    parts = []
    if least == most:
        parts.append(_step(least, _digits(low[1:], high if high is None else high[1:], with_low, with_high)))
    else:
        parts.append(_step(least, _digits(low[1:], None, with_low, True)))
        if most > least + 1:
            parts.append(f"[{least + 1}-{most - 1}][0-9]*")
        rest = "[0-9]+|" if high is None else _digits("", high[1:], True, with_high)
        parts.append(_step(most, rest))
    found = [each for each in parts if each is not None]
    return "|".join(found) + may_end if found else None


def _step(digit: int, rest: str | None) -> str | None:
    if rest is None:
        return None
    optional, rest = rest.endswith("|"), rest.removesuffix("|")
    return f"{digit}({rest}){'?' if optional else ''}"


def _whole(least: int, most: int | None) -> str | None:
    """Whole numbers that aren't negative."""
    if most is not None and most < least:
        return None
    parts = list[str]()
    start = least
    while most is None or start <= most:
        length = len(str(start))
        end = 10**length - 1
        if most is None:
            parts += [_same_length(str(start), str(end)), f"[1-9][0-9]{{{length},}}"]
            break
        parts.append(_same_length(str(start), str(min(end, most))))
        start = end + 1
    return _any(parts)


def _same_length(low: str, high: str) -> str:
    if not low:
        return ""
    least, most, rest = low[0], high[0], len(low) - 1
    if rest == 0 or (set(low[1:]) == {"0"} and set(high[1:]) == {"9"}):
        first = least if least == most else f"[{least}-{most}]"
        return first + (f"[0-9]{{{rest}}}" if rest else "")
    if least == most:
        return least + _same_length(low[1:], high[1:])
    parts = [least + _same_length(low[1:], "9" * rest)]
    if int(most) > int(least) + 1:
        parts.append(f"[{int(least) + 1}-{int(most) - 1}][0-9]{{{rest}}}")
    parts.append(most + _same_length("0" * rest, high[1:]))
    return _any(parts)


def _any(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({'|'.join(parts)})"
