"""What tests of a real broker share: waiting, both brokers, a recording, an aggregator at work."""

import csv
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.service import Aggregator
from coeval_lab.broker import Kind, find_mosquitto

PATIENCE_S = 300.0
"""Longer than a loaded machine needs: what comes in time costs nothing of it."""
LENGTH_S = 60


def wait_until(
    is_so: Callable[[], bool], what: str, *, seen: Callable[[], object] = lambda: "nothing of it"
) -> None:
    """Wait for something; where it does not come, say what was seen last instead."""
    until_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until_s, f"waited {PATIENCE_S} s for {what}; saw {seen()}"
        time.sleep(0.02)


@pytest.fixture(params=["mosquitto", "iotcore"])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    chosen: Kind = request.param
    return chosen


def write_bumps(root: Path, *, noise: float) -> None:
    """A recording of two sensors that felt the same bumps, on two nodes with right clocks."""
    rng = np.random.default_rng(7)
    t_s = np.arange(0, LENGTH_S, 0.01)
    bumps = np.zeros((3, len(t_s)))
    for at_s in np.cumsum(rng.exponential(0.7, 200)):
        shape = np.exp(-0.5 * ((t_s - at_s) / rng.uniform(0.03, 0.2)) ** 2)
        bumps += rng.normal(0, 2, 3)[:, None] * shape
    for name in ("left", "right"):
        with open(root / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["t", "x", "y", "z"])
            noisy = bumps + rng.normal(0, noise, bumps.shape)
            for t, values in zip(t_s, noisy.T, strict=True):
                writer.writerow([f"{t:.2f}", *(f"{value:.4f}" for value in values)])
    manifest = {
        "format": "coeval-recording/1",
        "name": "bumps",
        "nodes": {"left": {}, "right": {}},
        "streams": [
            {"id": n, "node": n, "modality": "metadata", "file": f"{n}.csv"}
            for n in ("left", "right")
        ],
    }
    (root / "recording.json").write_text(json.dumps(manifest), encoding="utf-8")


@contextmanager
def at_work(config: AggregatorConfig) -> Iterator[Aggregator]:
    """An aggregator in a thread, from when it is connected until the `with` block ends."""
    aggregator = Aggregator(config)
    stop = threading.Event()
    thread = threading.Thread(target=aggregator.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: aggregator.is_connected, "the aggregator to subscribe")
        yield aggregator
    finally:
        stop.set()
        thread.join()
