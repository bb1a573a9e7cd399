"""The switches of preprocessing: from the node's file to its extractors and descriptors."""

from pathlib import Path

import numpy as np
import pytest

from coeval.errors import BadConfig
from coeval.hops import EMBEDDING_DIM, Hops
from coeval.manifest import StreamSpec
from coeval.preprocessing import Preprocessing
from coeval.samples import TextLine
from coeval.time import NodeNs
from coeval_edge.config import NodeConfig, load_node_config
from coeval_edge.descriptors import describe
from coeval_edge.node import Node

TEXT = """
[node]
id = "hall"
[node.time]
[node.sources.file.door]
path = "door.log"
modality = "text"
[node.preprocessing]
cleanup = false
"""


class Beginnings:
    """An encoder that shows the first columns of its rows."""

    sha256 = "ab" * 32
    encoder_set = None
    adapted = None
    reduced_from = None

    def push(self, hops: Hops) -> list[Hops]:
        return [Hops(t0_node_ns=hops.t0_node_ns, rows=hops.rows[:, :EMBEDDING_DIM])]


def load(tmp_path: Path, text: str) -> NodeConfig:
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    return load_node_config(path)


def test_a_descriptor_names_the_steps_that_run_and_how_long_the_warm_up_is() -> None:
    spec = StreamSpec(id="mic", node="hall", modality="audio", file="a.wav")
    told = describe(
        spec,
        encoder=Beginnings(),
        preprocessing=Preprocessing(noise=False),
        boot_id=1,
        stamps="arrival",
        timing=None,
    )
    assert told["preprocessing"] == {"steps": ("standardise",), "warm_up_s": 8.0}


@pytest.mark.parametrize(
    ("switch", "num_lines"), [("cleanup = true", 2.0), ("cleanup = false", 3.0)]
)
def test_a_switch_reaches_the_streams_features(
    tmp_path: Path, switch: str, num_lines: float
) -> None:
    (tmp_path / "door.log").touch()
    config = load(tmp_path, TEXT.replace("cleanup = false", switch))
    node = Node(config, load_encoder=lambda *_: Beginnings())
    (pipeline,) = node._pipelines.values()
    blocks = []
    for k, text in enumerate(("door opens", "12:00:01", "door shuts")):
        line = TextLine(t_node_ns=NodeNs((k + 1) * 10**9), t_end_node_ns=None, text=text)
        blocks += pipeline.push(line, now_node_ns=NodeNs(0))
    blocks += pipeline.flush(now_node_ns=NodeNs(0))
    assert node._live is not None
    node._live.close()
    begins = np.concatenate([block.embeddings[:, 0] for block in blocks])
    assert begins.sum() == pytest.approx(num_lines)


def test_a_misspelt_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"unknown key node.preprocessing.clean.*'cleanup'"):
        load(tmp_path, TEXT.replace("cleanup", "clean"))
