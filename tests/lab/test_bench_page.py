"""`coeval bench page`: it publishes what a page reads, and counts frames."""

import json

import numpy as np
import pytest

from coeval.mqtt_messages import EVENTS
from coeval.wire import decode_block
from coeval_lab.bench.page import MEASURED, Frames, bars_of, plan_of, row_of, slowest_second
from coeval_lab.bench.page_load import Scene
from coeval_lab.bench_command import BENCHES


def frames(times_ms: list[float]) -> Frames:
    return Frames(view="aligned", times_ms=times_ms, cpu_s=0.5)


def test_frames_become_rates() -> None:
    row = row_of(50, frames([10.0 * k for k in range(200)]), load=2.0)
    assert [row[name] for name in MEASURED] == [100.0, 100.0, 100, 10.0, 2.5]


def test_a_second_that_stood_still_is_the_slowest() -> None:
    times_ms = np.concatenate([np.arange(0, 2000, 20), np.arange(3000, 5000, 20)])
    assert slowest_second(times_ms) == 1


def test_a_browser_that_drew_nothing_has_no_rate_and_misses_the_bar() -> None:
    row = row_of(50, frames([5.0]), load=2.0)
    assert row["fps_median"] is None
    assert [bar.met for bar in bars_of([row])] == [False]


@pytest.mark.parametrize(("slowest", "met"), [(29, False), (30, True)])
def test_the_bar_is_the_slowest_second_at_fifty_streams(slowest: int, met: bool) -> None:
    row = {"streams": 50, "view": "aligned", "fps_slowest_s": slowest}
    assert [bar.met for bar in bars_of([row])] == [met]


def test_every_stream_has_a_block_and_a_score_in_half_a_second() -> None:
    said = list(Scene(num_streams=12).half_a_second(0))
    blocks = [decode_block(payload) for topic, payload, _ in said if "/bin/" in topic]
    ticks = [json.loads(payload) for topic, payload, _ in said if topic.endswith("/aligned")]
    assert (len(blocks), len(ticks)) == (12, 2)
    assert all(len(tick["streams"]) == 12 for tick in ticks)


def test_its_anomalies_say_what_real_ones_say_of_their_stretch() -> None:
    scene = Scene(num_streams=5)
    said = [
        json.loads(p)
        for k in (0, 16)
        for topic, p, _ in scene.half_a_second(k)
        if "/event/" in topic
    ]
    assert [each["state"] for each in said] == ["begin", "end"]
    told = {"state", "streams", "t_ref_ns", "duration_s", "once_in_days"}
    assert told <= set(EVENTS["anomaly"].required)
    assert all(told <= set(each) for each in said)


def test_the_whole_plan_goes_to_a_hundred_streams() -> None:
    assert plan_of(quick=False, seed=1).streams == (10, 50, 100)
    assert "page" in BENCHES
