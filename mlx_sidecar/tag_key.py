"""When two tags, or two labels, are the same one."""

from __future__ import annotations

import re
import unicodedata

_IGNORED = re.compile(r"[\s_\u00ad\u2010-\u2015\u2212-]+")


def tag_key(tag: str) -> str:
    """What is left of a tag without case, blanks, hyphens and underscores.

    Somewhat coarser than §10.1 asks for: compatibility forms, such
    as full-width letters, are the same as the plain ones too.
    """
    plain = _IGNORED.sub("", unicodedata.normalize("NFKC", tag.lower()).lower())
    # What was taken out may have stood between a letter and its accent.
    return unicodedata.normalize("NFKC", plain).lower()
