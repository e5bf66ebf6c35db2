"""`messages` over the wire: any order of roles, and a last message that is continued."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.conversations import orders
from tests.support.models import Script, Shelf
from tests.support.worker import Server

WORDS = Script(" alpha beta gamma delta")
THINKER = Script("<think> secret plan</think>\n\n ocean forest", tokenizer="thinking")
CONTINUED: dict[str, Any] = {"command": "generate", "continue_final_message": True, "max_tokens": 40}


def messages(*said: tuple[str, str]) -> list[dict[str, str]]:
    """As in a request."""
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize("tokenizer", ["chatml", "gemma", "inst", "plain"])
def test_any_order_of_roles_is_answered_or_the_templates_to_refuse(
    shelf: Shelf, server: Server, tokenizer: str
) -> None:
    """System messages alone, an assistant that begins, the user twice: never a fault of the worker."""
    worker = server.with_model(shelf.family("llama", tokenizer=tokenizer))
    asked = [{"command": "generate", "messages": messages(*said), "max_tokens": 1} for said in orders(3)]
    lines = worker.ask_all([{**request, "id": number} for number, request in enumerate(asked)])
    assert {line.get("code", "answered") for line in lines} <= {"answered", "invalid_params"}
    refusals = {line["error"] for line in lines if line["type"] == "error"}
    assert bool(refusals) == (tokenizer == "gemma")
    assert all("role" in refusal for refusal in refusals)


def test_a_last_message_is_continued_where_that_is_asked(shelf: Shelf, server: Server) -> None:
    """The text is what comes after it, in the stream as well; without the field a new turn begins."""
    worker = server.with_model(shelf.reciter("continued", WORDS))
    said = messages(("user", "x"), ("assistant", " alpha beta"))
    line = worker.demand({**CONTINUED, "messages": said, "stream": True, "id": "on"})
    assert line["text"] == " gamma delta"
    assert "".join(x["delta"] for x in worker.progress("on")) == line["text"]
    assert worker.demand({**CONTINUED, "messages": said, "stop": ["delta"]})["text"] == " gamma "
    assert worker.demand({**CONTINUED, "messages": said, "continue_final_message": False})["text"] == WORDS.text.strip()


def test_a_blank_at_the_beginning_of_what_is_continued_stays(shelf: Shelf, server: Server) -> None:
    """Tokenizers that put a blank before each text put it there too; here it parts two words."""
    worker = server.with_model(shelf.reciter("continued-inst", Script("alpha beta gamma", tokenizer="inst")))
    line = worker.demand({**CONTINUED, "messages": messages(("user", "x"), ("assistant", "alpha"))})
    assert line["text"] == " beta gamma"


def test_reasoning_is_continued_as_reasoning(shelf: Shelf, server: Server) -> None:
    """Until it is closed; a model that isn't asked to think can't go on with a thought."""
    worker = server.with_model(shelf.reciter("continued-thinker", THINKER))
    said = messages(("user", "x"), ("assistant", "<think> secret"))
    line = worker.demand({**CONTINUED, "messages": said, "thinking": True})
    assert (line["reasoning"].strip(), line["text"].strip()) == ("plan", "ocean forest")
    refused = worker.ask({**CONTINUED, "messages": said})
    assert (refused["code"], "thinking" in refused["error"]) == ("invalid_params", True)
    answered = messages(("user", "x"), ("assistant", "<think> secret plan</think>\n\n ocean"))
    for thinking in (False, True):
        assert worker.demand({**CONTINUED, "messages": answered, "thinking": thinking})["text"] == " forest"


@pytest.mark.parametrize("thinking", [False, True])
def test_what_comes_after_a_message_is_held_to_its_schema(shelf: Shelf, server: Server, thinking: bool) -> None:
    """As a whole: the message is no part of the value."""
    worker = server.with_model(shelf.family("llama", tokenizer="thinking"))
    said = messages(("user", "x"), ("assistant", '<think>hm</think>{"ok": '))
    asked = {**CONTINUED, "messages": said, "thinking": thinking, "temperature": 0}
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    line = worker.demand({**asked, "schema": schema})
    assert line["json"] in ({"ok": True}, {"ok": False}) or (thinking and line["finish_reason"] == "length")
    line = worker.demand({**asked, "choices": ["yes", "no"]})
    assert line["text"] in {"yes", "no"} or (thinking and line["finish_reason"] == "length")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"prompt": "x"}, "messages"),
        ({"messages": messages(("user", "x"))}, "user"),
        ({"messages": messages(("assistant", "x"), ("system", "y"))}, "system"),
    ],
)
def test_only_a_message_of_the_assistant_can_be_continued(
    shelf: Shelf, server: Server, fields: dict[str, Any], named: str
) -> None:
    """Anything else is refused, with the field's name."""
    worker = server.with_model(shelf.family("llama", tokenizer="chatml"))
    line = worker.ask({**CONTINUED, **fields})
    assert line["code"] == "invalid_params"
    assert "'continue_final_message'" in line["error"]
    assert f"'{named}'" in line["error"]


def test_a_system_text_never_becomes_the_assistants(shelf: Shelf, server: Server) -> None:
    """Where the template has no system role, and no question comes first that could have it at its head."""
    worker = server.with_model(shelf.family("llama", tokenizer="gemma"))
    asked = {"command": "generate", "system": "Be brief.", "max_tokens": 1}
    line = worker.ask({**asked, "messages": messages(("assistant", "x"), ("user", "y"))})
    assert (line["code"], line["data"]["field"]) == ("invalid_params", "system")
    worker.demand({**asked, "messages": messages(("user", "x"), ("assistant", "y"), ("user", "z"))})


@pytest.mark.parametrize(
    ("tokenizer", "place", "thinks"),
    [
        ("chatml", "tokenizer_config.json", False),
        ("llama3", "chat_template.jinja", False),
        ("thinking", "tokenizer_config.json", True),
        ("thinking_open", "tokenizer_config.json", True),
        ("plain", None, False),
    ],
)
def test_a_model_says_where_its_template_is_and_whether_it_thinks(
    shelf: Shelf, server: Server, tokenizer: str, place: str | None, thinks: bool
) -> None:
    """In `model-info`, and in what `load-model` answers."""
    model = shelf.family("llama", tokenizer=tokenizer)
    worker = server.with_model(model)
    loaded = worker.demand({"command": "load-model", "model_path": str(model)})
    for line in (loaded, worker.demand({"command": "model-info"})):
        assert (line["chat_template"], line["can_think"]) == (place, thinks)
