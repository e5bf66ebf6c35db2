"""Which of the notes on a document's parts say anything about it."""

from __future__ import annotations

import re
from itertools import pairwise

from mlx_sidecar.tasks.sentences import sentence_ends

_THING = r"(?:document|text|content|passage|part|section|article|information|input|data|summary|file|page)s?"
_GIVEN = (
    r"(?:(?:was|were|is|are|has been|have been)? ?"
    r"(?:provided|given|supplied|available|included|present|found|there|here)"
    rf"|to summari[sz]e|(?:in|for|of) (?:the|this) {_THING})"
)
_SAYS_NOTHING = re.compile(
    r"(?:nothing|none|null|n/?a|empty|blank|no|not (?:available|applicable|provided))(?: to summari[sz]e)?"
    rf"|(?:the|this) (?:\w+ )?{_THING} (?:is|are|was|were|(?:appears?|seems?) to be|seems?) "
    rf"(?:\w+ )?(?:empty|blank|missing|not (?:provided|given|available))"
    rf"|(?:the|this) (?:\w+ )?{_THING} (?:is|has|contains?|says?) (?:nothing|no {_THING})"
    rf"|(?:there (?:is|are|was|were) )?(?:no|not any) (?:\w+ )?{_THING}(?: {_GIVEN})*"
    rf"|there (?:is|was) nothing(?: {_GIVEN})*"
    rf"|it (?:contains|has|says) (?:nothing|no {_THING})"
    rf"|(?:please|you (?:have not|haven't|did not|didn't)) (?:provided?|give|given|share|shared) .*",
    re.IGNORECASE,
)
_CANNOT = r"(?:cannot|can't|can not|am unable to|am not able to|don't have|do not have)"
_REFUSES = re.compile(
    r"(?:(?:i'm|i am|we're|we are) (?:very )?sorry|sorry|unfortunately|i apologi[sz]e"
    r"|as an? (?:ai|artificial|language)(?: \w+){1,2})?"
    rf"[,. ]*(?:but|for|as)?,? ?i {_CANNOT} (?:\w+ )?(?:provide|summari[sz]e|assist|help|fulfil|comply|access|see|read"
    r"|process|create|generate|write|do that|any)\b.*",
    re.IGNORECASE,
)
"""Only what a model refuses to do: "I can't wait for the concert" is said by a document."""

_LONGEST_REFUSAL_CHARS = 400
_AROUND = " \t\n()[]{}<>*_#\"'“”‘’.!?…:,;-–—"


def says_nothing(text: str) -> bool:
    """Whether a note is empty, says in English that there is nothing to say, or refuses to say it.

    Each of its sentences must do so: one that goes on about the document counts.
    """
    plain = " ".join(text.replace("’", "'").split())
    if len(plain) <= _LONGEST_REFUSAL_CHARS and _REFUSES.fullmatch(plain.lstrip(_AROUND)):
        return True
    bounds = [0, *sentence_ends(plain), len(plain)]
    sentences = (plain[start:end].strip(_AROUND) for start, end in pairwise(bounds))
    return all(_SAYS_NOTHING.fullmatch(sentence) for sentence in sentences if sentence)
