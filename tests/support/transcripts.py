"""Which transcripts of the conformance suite are played in memory, and which to the program. Some are played to both.

`.ci/run` plays all of them to the program, as anybody may: `python -m tests.conformance`.
"""

from __future__ import annotations

from tests.conformance.transcript import Transcript, read_all

NEEDS_A_PROCESS = {
    "life/bad_flag": "flags are refused by the program",
    "life/bad_value_of_a_flag": "flags are refused by the program",
    "life/second_signal": "the second signal ends the process",
    "limits/out_of_memory": "the limit is for a process without other models",
    "order/more_than_the_queue_holds_and_end_of_input": "the admission holds up the thread that reads stdin",
}
"""What only a process can show, and why."""

_ANSWERS = ("tasks/", "batch/", "downloads/")
"""Subjects that are about the model's answers and take its time, or need a child process."""

_PROGRAM = (*_ANSWERS, "life/", "limits/")
"""Subjects that are about more than the core and the front end."""

PIPES = frozenset(
    {
        *("cancel/of_everything_before", "cancel/of_what_runs", "cancel/status_while_busy", "cancel/timeout"),
        *("commands/check_availability", "commands/load_model_with_progress"),
        *("framing/a_line_in_pieces", "framing/invalid_utf8", "framing/last_line_without_lf", "framing/leading_bom"),
        *("framing/seventeen_mebibytes", "framing/silent_until_spoken_to", "framing/too_long_and_no_end"),
        *("generate/many_together", "generate/stream", "order/five_hundred_lines", "order/held_deltas"),
        "requests/ids_come_back_unchanged",
    }
)
"""Of the other subjects, what pipes and threads could spoil."""


def in_memory() -> list[Transcript]:
    """Played to the worker's parts, without a process."""
    return [each for each in read_all() if each.name not in NEEDS_A_PROCESS and not each.name.startswith(_ANSWERS)]


def over_pipes() -> list[Transcript]:
    """Played to the program."""
    wanted = {*NEEDS_A_PROCESS, *PIPES}
    return [each for each in read_all() if each.name in wanted or each.name.startswith(_PROGRAM)]
