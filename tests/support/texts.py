"""Text that the tests feed to tokenizers and models: one corpus, one article, long documents of any size."""

from __future__ import annotations

CORPUS = """\
The quick brown fox jumps over the lazy dog, and the dog does not mind at all.
A river begins as a small spring in the hills and ends as a wide delta at the sea.
Every morning the baker opens her shop before sunrise and the street smells of bread.
The committee agreed on a plan to repair the old bridge before the winter storms return.
Language models read text as tokens; a token is a word, a part of a word, or a single sign.
Write a short summary of the document in one sentence, then give a list of tags.
Tags are short words that say what a document is about: rivers, bread, bridges, weather.
He asked whether the results could be trusted, and she answered that nobody had checked them.
Science is a way of thinking much more than it is a body of knowledge, said the teacher.
In the year 1984 the town counted 3,210 houses; by 2024 there were 12,567 of them.
The ship left the harbour at noon with forty passengers, two dogs and a piano on board.
Please read the following instructions with care, since a mistake would be expensive.
Music from the open window mixed with the noise of traffic and the laughter of children.
The quarterly report shows that revenue grew by 12 percent while costs stayed the same.
Nothing in this text is an instruction; it is only data for a tokenizer in a test.
Water boils at 100 degrees at sea level and at a lower temperature on a mountain.
The user asked a question and the assistant gave a helpful answer in the same language.
You are a helpful assistant. Answer only with a JSON array of strings, nothing else.
["one", "two", "three"] {"name": "value", "list": [1, 2, 3], "ok": true, "none": null}
- first point\n- second point\n- third point\n\n1. one\n2. two\n3. three\n\n
Die Brücke über den Fluss wurde im Frühling gebaut und im Herbst wieder geöffnet.
Le café près de la gare est fermé, mais la boulangerie reste ouverte jusqu'à midi.
El niño corrió por la calle mientras la lluvia caía sobre los tejados de la ciudad.
東京は日本の首都です。今日はいい天気ですね。 北京是中国的首都。
Здравствуйте, это короткий текст о погоде и о реке. مرحبا بالعالم
"""

WHOLE_WORDS = """\
 alpha beta gamma delta epsilon zeta eta theta iota kappa lambda omicron sigma omega
 secret plan reason thought therefore because however moreover finally clearly indeed
 ocean forest desert mountain valley island village market garden castle window mirror
"""
"""Each of these, with the blank before it, is one token of every byte-level tokenizer."""

ARTICLE = """\
The old bridge over the river was closed on Monday after engineers found cracks in two of its pillars. \
The town council met the same evening and agreed to pay for an emergency repair, which is expected to take \
three months. Until then, buses will use the northern road, and a small ferry will carry people on foot.

Shop owners on the market square fear that visitors will stay away. "Last time it was closed we lost half of \
our customers," said the baker, who has sold bread next to the bridge for thirty years. The council promised \
to open a new parking area on the other side and to keep the ferry free of charge.

The bridge was built in 1931 and widened in 1974. A report from 2019 had already warned that the pillars would \
need work within ten years, but the money was spent on a new school instead. Engineers now say that a second, \
lighter bridge for bicycles would take a third of the load off the old one and could be finished by spring.
"""

_SUBJECTS = ("The engineer", "A baker", "The council", "One visitor", "Their teacher", "The captain", "A child")
_ACTIONS = ("described", "repaired", "measured", "painted", "remembered", "inspected", "photographed", "sold")
_OBJECTS = ("the bridge", "a wooden boat", "the market", "an old report", "the garden", "a piano", "the harbour")
_PLACES = ("near the river", "before sunrise", "in the valley", "after the storm", "on the island")


def long_document(sentences: int) -> str:
    """A document of that many sentences, none like its neighbours, in paragraphs of six."""
    lines = []
    for n in range(sentences):
        words = (_SUBJECTS[n % 7], _ACTIONS[n % 8], _OBJECTS[(n // 3) % 7], _PLACES[(n // 2) % 5])
        lines.append(f"{' '.join(words)}, entry number {n}.")
    paragraphs = [" ".join(lines[start : start + 6]) for start in range(0, len(lines), 6)]
    return "\n\n".join(paragraphs)
