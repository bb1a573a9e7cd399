"""A node's configuration: file, flags, and mistakes named with their key."""

from pathlib import Path

import pytest

from coeval.errors import BadConfig
from coeval_edge.config import NodeConfig, ReplayConfig, load_node_config
from coeval_edge.node_command import merge

TEXT = """
[node]
id = "wrist"
session = "walk"
spool = "spool"
[node.replay]
recording = "rec"
speed = inf
offset_s = 3
[node.encoders]
audio = "a.onnx"
"""


def load(tmp_path: Path, text: str) -> NodeConfig:
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    return load_node_config(path)


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    config = load(tmp_path, TEXT)
    assert config.replay.recording == tmp_path / "rec"
    assert config.spool == tmp_path / "spool"
    assert config.encoders["audio"] == tmp_path / "a.onnx"
    assert (config.replay.speed, config.replay.offset_s) == (float("inf"), 3.0)
    assert config.topics.block("wrist", "imu") == "coeval/walk/bin/wrist/imu"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "wrist"', 'id = "a/b"', "node.id must be 1 to 200 bytes"),
        ('id = "wrist"', 'id = "aggregator"', "node.id must not be 'aggregator'"),
        ('session = "walk"', 'session = "#"', "node.session must be"),
        ('session = "walk"', 'sesion = "walk"', "unknown key node.sesion; did you mean 'session'"),
        ("speed = inf", "speed = 0", "node.replay.speed must be above 0"),
        ("speed = inf", "speed = nan", "node.replay.speed must be above 0"),
        ("offset_s = 3", "offset_s = inf", "node.replay.offset_s must be a number"),
        ('audio = "a.onnx"', 'sound = "a.onnx"', "node.encoders: unknown modality 'sound'"),
        ('spool = "spool"', 'broker = "h:1"', "node.broker must be mqtt://host:port"),
        ('spool = "spool"', "block_hops = 0", "node.block_hops must be 1"),
        ('spool = "spool"', "spool_max_bytes = 1", "node.spool_max_bytes must be at least"),
        ('spool = "spool"', "drain_s = -1", "node.drain_s must be 0 or more"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(BadConfig, match=f"node.toml: .*{said}"):
        load(tmp_path, TEXT.replace(old, new))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"no\.toml: cannot be read"):
        load_node_config(tmp_path / "no.toml")


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, TEXT)
    merged = merge(
        config,
        node_id=None,
        flags={"session": "run", "broker": None},
        replay={"offset_s": -1.5, "recording": None},
    )
    assert (merged.id, merged.session, merged.replay.offset_s) == ("wrist", "run", -1.5)
    assert merged.replay.recording == tmp_path / "rec"


def test_flags_alone_are_enough() -> None:
    merged = merge(None, node_id="cam", flags={"spool": None}, replay={"recording": Path("r")})
    assert merged == NodeConfig(id="cam", replay=ReplayConfig(recording=Path("r")))


def test_neither_file_nor_flags_is_a_usage_error() -> None:
    with pytest.raises(BadConfig, match="--replay RECORDING --node ID"):
        merge(None, node_id=None, flags={}, replay={})
