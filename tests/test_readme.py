"""What the README shows of Python runs as it stands."""

from __future__ import annotations

import re

from tests.support.programs import run_program
from tests.support.worker import REPOSITORY


def test_the_python_client_does_what_the_readme_shows() -> None:
    """Tags, a summary that comes in pieces, and a failure with its code."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"<!-- the Python client -->\n```python\n(.*?)```", readme, re.DOTALL)
    done = run_program(program)
    assert (done.returncode, done.stderr) == (0, "")
    tags, summary, tokens, failed = done.stdout.splitlines()
    assert (tags[:2], summary[:3], failed[:21]) == ("['", "The", "model_not_found False")
    assert int(tokens) > 5
