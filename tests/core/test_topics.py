"""Topics: what is built is read back, and an id that would break them is refused."""

import pytest

from coeval.errors import BadConfig
from coeval.topics import Topics, check_id, check_node_id

TOPICS = Topics(session="walk")


def test_topics_are_those_of_the_design() -> None:
    assert TOPICS.state("cam") == "coeval/walk/state/cam"
    assert TOPICS.descriptor("cam", "mic") == "coeval/walk/state/cam/mic"
    assert TOPICS.block("cam", "mic") == "coeval/walk/bin/cam/mic"
    assert TOPICS.time_request("cam") == "coeval/walk/time/cam/request"
    assert TOPICS.clock("cam") == "coeval/walk/clock/cam"
    assert TOPICS.aligned == "coeval/walk/aligned"
    assert TOPICS.event("gap", "cam", "mic") == "coeval/walk/event/gap/cam/mic"


@pytest.mark.parametrize(
    ("topic", "kind", "names"),
    [
        (TOPICS.state("cam"), "state", ("cam",)),
        (TOPICS.descriptor("cam", "mic"), "descriptor", ("cam", "mic")),
        (TOPICS.block("cam", "mic"), "bin", ("cam", "mic")),
        (TOPICS.time_request("cam"), "time", ("cam", "request")),
        (TOPICS.clock("cam"), "clock", ("cam",)),
        (TOPICS.aligned, "aligned", ()),
        (TOPICS.event("jump", "cam"), "event", ("jump", "cam")),
    ],
)
def test_a_topic_is_read_back(topic: str, kind: str, names: tuple[str, ...]) -> None:
    address = TOPICS.parse(topic)
    assert address is not None
    assert (address.kind, address.names) == (kind, names)


@pytest.mark.parametrize(
    "topic",
    [
        "coeval/other/state/cam",
        "coeval/walk",
        "coeval/walk/bin/cam",
        "coeval/walk/bin/cam/mic/more",
        "coeval/walk/bin//mic",
        "coeval/walk/state",
        "coeval/walk/news/cam",
        "coeval/walkie/state/cam",
    ],
)
def test_a_topic_of_something_else_is_none(topic: str) -> None:
    assert TOPICS.parse(topic) is None


@pytest.mark.parametrize("bad", ["", "a/b", "a+", "#", "a\nb", "..", "\ud800", "x" * 201, "\0"])
def test_an_id_that_is_no_topic_level_is_refused(bad: str) -> None:
    with pytest.raises(BadConfig, match="stream id must be"):
        check_id(bad, what="stream id")


def test_a_node_may_not_pass_for_the_aggregator() -> None:
    with pytest.raises(BadConfig, match="names the aggregator itself"):
        check_node_id("aggregator")


def test_an_id_may_be_in_any_script() -> None:
    assert check_id("küche 台所", what="node id") == "küche 台所"


def test_a_prefix_may_have_levels_but_no_wildcards() -> None:
    topics = Topics(session="s", prefix="lab/room 2")
    assert topics.parse(topics.state("cam")) is not None
    for bad in ("", "a//b", "#", "$SYS", "a/+"):
        with pytest.raises(BadConfig, match="prefix"):
            Topics(session="s", prefix=bad)


def test_a_session_that_is_no_topic_level_is_refused() -> None:
    with pytest.raises(BadConfig, match="session must be"):
        Topics(session="a/b")
