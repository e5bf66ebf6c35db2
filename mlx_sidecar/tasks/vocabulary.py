"""The tags that a request brings along: which of them to show the model, and how they are spelled."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Sequence
from functools import cached_property, lru_cache

from mlx_sidecar.engine.job import LanguageModel
from mlx_sidecar.tag_key import tag_key
from mlx_sidecar.tasks.task import Pause
from mlx_sidecar.tasks.words import stems

_MOST_SHOWN_TAGS = 100
_MOST_SHOWN_TOKENS = 400
"""The tags that are shown come after the document, so they are computed anew for each."""

_SEARCHED_CHARS = 50_000
"""How much of a document is searched for the vocabulary's tags, to show those first."""

_SEARCHED_BETWEEN_PAUSES = 256


class TagVocabulary:
    """Tags by what is left of them without case, blanks and hyphens. Made once for a list that comes again."""

    def __init__(self, tags: Sequence[str]) -> None:
        self.tags = tuple(dict.fromkeys(tags))
        self._exact = frozenset(self.tags)
        self._folded = [tag_key(tag) for tag in self.tags]
        self._spelling = dict(zip(reversed(self._folded), reversed(self.tags), strict=True))

    def spelled(self, tag: str) -> str:
        """The tag in the spelling that the list has for it, the first one if it has several; else as it is."""
        return tag if tag in self._exact else self._spelling.get(tag_key(tag), tag)

    def shares_in(self, text: str) -> list[float]:
        """For each tag, which share of its words stands in the text; rare words of the vocabulary weigh more."""
        words, folded = set(stems(text)), tag_key(text[:_SEARCHED_CHARS])
        return [
            1.0 if _is_unspaced(whole) and whole in folded else sum(self._weights[s] for s in own if s in words) / total
            for whole, own, total in zip(self._folded, self._tag_stems, self._totals, strict=True)
        ]

    @cached_property
    def _tag_stems(self) -> list[list[str]]:
        return [stems(tag) for tag in self.tags]

    @cached_property
    def _weights(self) -> dict[str, float]:
        """Of each stem: the fewer tags have it, the more it says."""
        counts = Counter(stem for own in self._tag_stems for stem in set(own))
        return {stem: math.log(1 + len(self.tags) / count) for stem, count in counts.items()}

    @cached_property
    def _totals(self) -> list[float]:
        return [sum(self._weights[stem] for stem in own) or 1.0 for own in self._tag_stems]

    def shown(self, content: str, model: LanguageModel) -> Generator[Pause, object, list[str]]:
        """The tags to name in the prompt: as many as an eighth of the context holds, those of the document first."""
        document = tag_key(content[:_SEARCHED_CHARS])
        found: list[str] = []
        others: list[str] = []
        for number, (tag, folded) in enumerate(zip(self.tags, self._folded, strict=True)):
            (found if folded in document else others).append(tag)
            if number % _SEARCHED_BETWEEN_PAUSES == _SEARCHED_BETWEEN_PAUSES - 1:
                yield Pause()
        left = min(model.context_length // 8, _MOST_SHOWN_TOKENS)
        shown: list[str] = []
        for tag in [*found, *others][:_MOST_SHOWN_TAGS]:
            left -= model.count(tag) + 1
            if left < 0:
                break
            shown.append(tag)
        return shown


def _is_unspaced(text: str) -> bool:
    """Whether words of this script stand side by side without blanks, so that they can only be found within others."""
    return any("\u0e00" <= sign <= "\u0eff" or "\u3040" <= sign <= "\u9fff" for sign in text)


@lru_cache(maxsize=8)
def tag_vocabulary(tags: tuple[str, ...]) -> TagVocabulary:
    """The vocabulary of these tags; the latest few are kept, since an app sends the same list each time."""
    return TagVocabulary(tags)
