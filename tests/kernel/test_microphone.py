"""The node's sound code on the kernel's sound interface: `snd-aloop`, a card that hears what is
played on its other end.

Samples, stamps and overruns are the kernel's own. The card's oscillator is the kernel's timer, late
by milliseconds on an emulated machine: what is left of that in the times of the sound is tested.
"""

import itertools

import pytest

from .machine import GuestError, Machine, on_a_calm_machine

pytestmark = pytest.mark.kernel

MICROPHONE, PLAYER = "hw:0,0", "hw:0,1"
DRIVER = "/sys/bus/platform/drivers/snd_aloop"
MS = 1_000_000


@on_a_calm_machine
def test_clicks_are_as_far_apart_as_they_were_played_however_late_blocks_come(
    machine: Machine,
) -> None:
    assert machine.call("microphone_open", name="mic", device=MICROPHONE) == {
        "clock": "MONOTONIC",
        "rate_hz": 48_000,
    }
    machine.call("microphone_read", name="mic", for_s=3.0)
    machine.call("play", device=PLAYER, clicks_s=[0.6, 1.2, 1.8, 2.4], for_s=3.0)
    told = machine.call("microphone_read", name="mic", for_s=5.0)
    machine.call("microphone_close", name="mic")
    assert "lost" not in told["counts"]
    heard_ns = [block["peak_ns"] for block in told["blocks"] if block["peak"] > 0.3]
    gaps_ms = [(b - a) / MS for a, b in itertools.pairwise(heard_ns)]
    assert gaps_ms == pytest.approx([600.0] * 3, abs=5.0)
    assert told["sigma_ns"] < 2 * MS
    assert told["num_pieces"] == 1


@on_a_calm_machine
def test_blocks_follow_each_other_without_a_gap_and_are_past_when_they_are_read(
    machine: Machine,
) -> None:
    machine.call("microphone_open", name="mic", device=MICROPHONE)
    blocks = machine.call("microphone_read", name="mic", for_s=3.0)["blocks"]
    machine.call("microphone_close", name="mic")
    assert len(blocks) >= 5
    for before, after in itertools.pairwise(blocks):
        assert abs(after["t_node_ns"] - before["ends_ns"]) <= 2
    for block in blocks:
        assert block["ends_ns"] < block["read_node_ns"] + 5 * MS
        length_ns = block["ends_ns"] - block["t_node_ns"]
        assert length_ns == pytest.approx(block["num"] / 16_000 * 1e9, rel=0.0101)


@on_a_calm_machine
def test_sound_that_nobody_read_in_time_is_lost_once_and_the_next_is_where_it_was(
    machine: Machine,
) -> None:
    machine.call("microphone_open", name="mic", device=MICROPHONE)
    before = machine.call("microphone_read", name="mic", for_s=2.0)["blocks"][-1]
    machine.call("microphone_sleep", seconds=1.5)
    told = machine.call("microphone_read", name="mic", for_s=2.0)
    machine.call("microphone_close", name="mic")
    assert told["counts"]["lost"] == 1
    assert told["num_pieces"] == 2
    blocks = told["blocks"]
    gap_ns = max(
        after["t_node_ns"] - earlier["ends_ns"]
        for earlier, after in itertools.pairwise([before, *blocks])
    )
    assert gap_ns > 500 * MS
    assert blocks[-1]["ends_ns"] < blocks[-1]["read_node_ns"] + 5 * MS


@pytest.mark.parametrize("device", [MICROPHONE, "plughw:0,0"])
@on_a_calm_machine
def test_stamps_are_of_the_clock_that_they_say(machine: Machine, device: str) -> None:
    """The kernel's clock is 100 ms further from the node's each time: sound stays in the past."""
    assert machine.call("run_monotonic_away", milliseconds=100) > 80 * MS
    machine.call("microphone_open", name="mic", device=device)
    told = machine.call("microphone_read", name="mic", for_s=3.0)
    machine.call("microphone_close", name="mic")
    assert "unplaced" not in told["counts"]
    ages_ns = [block["read_node_ns"] - block["ends_ns"] for block in told["blocks"]]
    assert -5 * MS < min(ages_ns) < 60 * MS


@on_a_calm_machine
def test_a_card_that_programs_share_is_read_too(machine: Machine) -> None:
    """Through `dsnoop`, which loses samples without a word where a machine is as slow as this."""
    opened = machine.call("microphone_open", name="mic", device="default")
    assert opened == {"clock": "MONOTONIC", "rate_hz": 48_000}
    told = machine.call("microphone_read", name="mic", for_s=3.0)
    machine.call("microphone_close", name="mic")
    assert told["counts"]["used"] > 20
    assert "unplaced" not in told["counts"]
    assert all(block["ends_ns"] < block["read_node_ns"] + 5 * MS for block in told["blocks"])


def test_a_microphone_in_use_or_refused_or_absent_is_named(machine: Machine) -> None:
    machine.call("microphone_open", name="mic", device=MICROPHONE)
    with pytest.raises(GuestError, match=r"SourceBusy: .*hw:0,0.*fuser"):
        machine.call("microphone_open", name="other", device=MICROPHONE)
    machine.call("microphone_close", name="mic")
    told = machine.call("as_nobody", what="microphone_open", name="mic", device=MICROPHONE)
    assert told["error"] == "SourceForbidden"
    assert "usermod -aG audio" in told["says"]
    for device in ("hw:7", "hw:0,5", "no-such-name"):
        with pytest.raises(GuestError, match=r"SourceAbsent: .*arecord -L"):
            machine.call("microphone_open", name="mic", device=device)


def test_a_card_that_is_unplugged_is_lost_and_comes_back_anew(machine: Machine) -> None:
    machine.call("microphone_open", name="mic", device=MICROPHONE)
    machine.call("microphone_read", name="mic", for_s=0.5)
    machine.call("unbind_in_use", path=f"{DRIVER}/unbind", name="snd_aloop.0")
    with pytest.raises(GuestError, match=r"SourceLost: .*hw:0,0.*open it anew"):
        machine.call("microphone_read", name="mic", for_s=3.0)
    machine.call("microphone_close", name="mic")
    machine.call("microphone_sleep", seconds=0.5)
    machine.call("write", path=f"{DRIVER}/bind", text="snd_aloop.0")
    machine.call("microphone_open", name="mic", device=MICROPHONE)
    assert machine.call("microphone_read", name="mic", for_s=3.0)["blocks"]
    machine.call("microphone_close", name="mic")
