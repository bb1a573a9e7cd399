"""TOML to dataclass: a mistake is named with file and key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from coeval.config_table import parse_toml, read_table
from coeval.errors import BadConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    speed: float = 1.0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise BadConfig(f"speed must be above 0, got {self.speed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    id: str
    count: int = 3
    loud: bool = False
    colour: Literal["red", "blue"] = "red"
    folder: Path | None = None
    inner: Inner = field(default_factory=Inner)
    files: Mapping[str, Path] = field(default_factory=dict)


def read(text: str) -> Outer:
    return read_table(parse_toml(text, where="n.toml"), "node", Outer, where="n.toml")


def test_values_of_every_kind_are_read() -> None:
    config = read(
        '[node]\nid = "cam"\ncount = 4\nloud = true\nfolder = "/a"\n'
        '[node.inner]\nspeed = 2\nnames = ["x", "y"]\n[node.files]\naudio = "a.onnx"\n'
    )
    assert config == Outer(
        id="cam",
        count=4,
        loud=True,
        folder=Path("/a"),
        inner=Inner(speed=2.0, names=("x", "y")),
        files={"audio": Path("a.onnx")},
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[node]\nid = "a"\ncolour = "pink"', "node.colour must be one of red, blue, got 'pink'"),
        ('[node]\nid = "a"\ncoumt = 1', r"n.toml: unknown key node.coumt; did you mean 'count'\?"),
        ('[node]\nid = "a"\nzzz = 1', "unknown key node.zzz; known: id, count"),
        ('[node]\nid = "a"\n[node.inner]\nspede = 1', "unknown key node.inner.spede"),
        ("[node]\n", "n.toml: node.id is missing"),
        ("[node]\nid = 3", "node.id must be text, got 3"),
        ('[node]\nid = "a"\ncount = 1.5', "node.count must be a whole number, got 1.5"),
        ('[node]\nid = "a"\ncount = true', "node.count must be a whole number, got True"),
        ('[node]\nid = "a"\nloud = 1', "node.loud must be true or false, got 1"),
        ('[node]\nid = "a"\ninner = 1', "node.inner must be a table"),
        ('[node]\nid = "a"\n[node.inner]\nnames = "x"', "node.inner.names must be a list"),
        ('[node]\nid = "a"\n[node.inner]\nnames = [1]', r"node.inner.names\[0\] must be text"),
        ('[node]\nid = "a"\n[node.inner]\nspeed = 0', "node.inner.speed must be above 0, got 0.0"),
        ('[node]\nid = "a"\nfiles = 1', "node.files must be a table"),
        ("[nodes]\n", "expected one table .node., got 'nodes'"),
        ("", "no table .node."),
        ("node = 1", "'node' must be a table"),
        ("[node\n", "n.toml: not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(text: str, said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        read(text)


def test_one_of_a_few_words_may_also_be_left_out() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Source:
        modality: Literal["text", "metadata"] | None = None

    def read(value: str | None) -> Source:
        table = {} if value is None else {"modality": value}
        return read_table({"source": table}, "source", Source, where="f")

    assert (read(None).modality, read("text").modality) == (None, "text")
    with pytest.raises(BadConfig, match=r"source\.modality must be one of text, metadata"):
        read("smell")
