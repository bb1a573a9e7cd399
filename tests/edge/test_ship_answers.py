"""What is made of what a session's nodes say when encoders are announced to them."""

import json
from typing import Any

from coeval.topics import Topics
from coeval_edge.ship_answers import Answers
from coeval_edge.ship_command import outcome

from .encoder_sets import made_set

TOPICS = Topics(session="s")
FOUND = made_set("a1")
SHA256 = FOUND.notice.files["audio"].sha256


def online(**changed: Any) -> dict[str, Any]:
    return {"state": "online", "accepts_models": True, "streams": ["mic"]} | changed


def answers_to(*messages: tuple[str, Any]) -> dict[str, str]:
    """What became of the set by node, after these messages."""
    answers = Answers(FOUND.notice, TOPICS)
    for topic, told in messages:
        payload = told if isinstance(told, bytes) else json.dumps(told).encode()
        answers.take(f"coeval/s/{topic}", payload)
    assert answers.is_complete == ("no answer" not in {one.what for one in answers.nodes.values()})
    return {name: one.what for name, one in answers.nodes.items()}


def test_a_node_is_waited_for_until_it_says_what_became_of_this_set() -> None:
    switched = {"what": "switched", "encoder_set": "a1"}
    assert answers_to(("state/n", online())) == {"n": "no answer"}
    assert answers_to(("state/n", online()), ("event/model/n", switched)) == {"n": "switched"}
    of_another = switched | {"encoder_set": "b2"}
    assert answers_to(("state/n", online()), ("event/model/n", of_another)) == {"n": "no answer"}


def test_a_node_that_uses_the_files_already_needs_to_say_nothing() -> None:
    described = ("state/n/mic", {"encoder": {"sha256": SHA256}})
    assert answers_to(("state/n", online()), described) == {"n": "switched"}
    two = ("state/n", online(streams=["mic", "log"]))
    assert answers_to(two, described) == {"n": "no answer"}


def test_who_is_away_or_takes_none_is_not_waited_for() -> None:
    assert answers_to(("state/n", online(accepts_models=False))) == {"n": "not asked"}
    assert answers_to(("state/n", online()), ("state/n", {"state": "offline"})) == {}
    assert answers_to(("state/aggregator", online())) == {}


def test_what_cannot_be_read_says_nothing() -> None:
    bad: tuple[Any, ...] = (b"{", b"[]", b"\xff", b"", {"encoder": 3})
    messages = [(topic, b) for topic in ("event/model/n", "state/n/mic") for b in bad]
    assert answers_to(("state/n", online()), *messages) == {"n": "no answer"}


def test_no_node_at_all_is_said() -> None:
    assert outcome({}) == ["no node is online; those that come, and accept encoders, take it"]
