"""The encoders and the fusion network that ship, over a real broker."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from coeval_aggregator.fusion import SHIPPED
from coeval_edge.config import NodeConfig, ReplayConfig
from coeval_edge.node import Node
from coeval_lab.broker import start_broker

from .staging import wait_until
from .test_end_to_end import Running, aggregating, watching
from .test_end_to_end import recording as recording  # a fixture

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(not SHIPPED.exists(), reason="no fusion.onnx yet: run `make models`"),
]


def test_streams_of_the_shipped_encoders_are_fused_and_judged_live(recording: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker())
        watcher = stack.enter_context(watching(broker))
        stack.enter_context(aggregating(broker, reference="left", tick_wait_s=300.0))
        for name, offset_s in (("left", 0.0), ("right", 3.2)):
            replay = ReplayConfig(recording=recording, speed=20.0, loop=True, offset_s=offset_s)
            node = Running(Node(NodeConfig(id=name, session="s", broker=broker.url, replay=replay)))
            stack.callback(node.join)
            stack.callback(node.stop.set)
        wait_until(
            lambda: any(
                len([s for s in tick["streams"].values() if s["anomaly"] is not None]) == 2
                for tick in watcher.said("aligned")
            ),
            "a tick in which both streams are judged",
        )
        last = watcher.said("aligned")[-1]
        assert (last["fusion"], last["fusion_why"]) == ("hybrid", None)
        assert isinstance(last["anomaly"], float)
