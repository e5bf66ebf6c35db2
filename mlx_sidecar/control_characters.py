"""Characters that nobody sees: which of them steer what shows a text, or hide something in it.

Joiners (U+200C, U+200D), variation selectors and the marks of a direction (U+200E, U+200F, U+061C) are none of them:
emoji, Persian and the scripts of India need the first two, and the marks change nothing but their neighbours.
"""

from __future__ import annotations

CONTROLS = r"\x00-\x1f\x7f-\x9f"
"""Unicode's category Cc, for a class of a regular expression."""

CONTROLS_BUT_BLANKS = r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
"""Those that Python doesn't take for blanks: no text has one."""

DIRECTIONS = r"\u202a-\u202e\u2066-\u2069"
"""What turns the direction of all that follows, up to the end of a line: "gpj.exe" is shown as "exe.jpg"."""

HIDDEN = DIRECTIONS + r"\u00ad\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"
"""Those, soft hyphens, blanks without a width, and other formatting that is no part of a word."""

TAGS = r"\U000e0001\U000e0020-\U000e007f"
"""Invisible twins of ASCII. Behind a black flag they make another flag of it; elsewhere they hide a text in a text."""

FILLERS = r"\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters and a sign that look like nothing."""

FLAG = "\U0001f3f4"
