"""Which notes say something."""

from __future__ import annotations

import pytest

from mlx_sidecar.tasks.notes import says_nothing


@pytest.mark.parametrize(
    "note",
    [
        *("", " \n", "…", "(nothing)", "None.", "N/A", "Nothing to summarize.", "**Empty**"),
        *("The document is empty.", "This text appears to be blank.", "The provided document is empty."),
        *("No content provided", "No text was provided.", "No information is available in the document."),
        *("There is no text.", "There is no text to summarize.", "There is nothing to summarize here."),
        *("The document is empty. It contains no text.", "The document contains no information."),
        *("I'm sorry, but I can't summarize this. It isn't long.", "I’m sorry, I can’t see the document."),
        *("I cannot summarize the document.", "As an AI language model, I cannot access files."),
        "There is no document. Please provide the text that you want summarized.",
    ],
)
def test_a_note_that_says_nothing_is_known(note: str) -> None:
    """Empty, a statement that there is nothing, or a refusal."""
    assert says_nothing(note)


@pytest.mark.parametrize(
    "note",
    [
        *("Bees dance.", "The document is about empty houses.", "The text is empty of all hope, a critic says."),
        *("No content creator was paid.", "There is no text of the treaty that the museum could find."),
        *("None of the bees came back.", "Nothing grows there.", "The document is empty. Its title is about bees."),
        *("No bees.", "The house is empty.", "The minister is sorry, but the bridge stays closed."),
        *("Please help the bees, the town asks.", "蜂は踊る。"),
    ],
)
def test_a_note_that_says_something_counts(note: str) -> None:
    """However near it comes."""
    assert not says_nothing(note)


def test_what_a_writer_cannot_do_is_something() -> None:
    """Only a model's refusal to do its work says nothing."""
    assert not says_nothing("I cannot recommend this restaurant enough; the soup was great.")
    assert not says_nothing("I don't have time on Friday, says Peter, so the meeting moves.")
    assert not says_nothing("I can't wait for the concert on May 5.")
    assert says_nothing("I'm sorry, but I cannot provide a summary without the text.")
