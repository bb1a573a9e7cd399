"""A microphone's stream: one timeline without jitter, what a loss does to it, alsa-lib's errors.

The card is invented here; tests/kernel reads the kernel's own.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest

from coeval.errors import BadConfig
from coeval.features import make_extractor
from coeval.samples import AudioBlock, FloatArray
from coeval.time import NodeNs
from coeval_edge.kernel_clocks import KernelClock, StampConverter
from coeval_edge.live import ClockLinks, SourcesConfig
from coeval_edge.media import Resampler
from coeval_edge.sources import alsa_pcm
from coeval_edge.sources.alsa_pcm import AlsaPcm, PcmBlock, is_refused, load_alsa, to_mono
from coeval_edge.sources.errors import SourceAbsent, SourceSilent, SourceUnfit
from coeval_edge.sources.microphone import Microphone, MicrophoneConfig

RATE_HZ, PERIOD = 48_000, 480
MS = 1_000_000
CLICK_EVERY = 12_000
"""Samples from one click to the next: 250 ms, where the card keeps time."""
MONOTONIC_AHEAD_NS = 3_000_000_000


class Card:
    """A card 451 ppm fast, whose blocks are stamped up to 5 ms late and whose clicks are known."""

    rate_hz = RATE_HZ

    def __init__(self, clock: KernelClock = KernelClock.MONOTONIC) -> None:
        self.clock = clock
        self.period_ns = 1e9 / RATE_HZ / (1 + 451e-6)
        self.start_ns = 50_000_000_000
        self.taken = 0
        """Samples that the card took, lost ones too."""
        self.given = 0
        self.follows_loss = False
        self.is_mute = False
        self.jitter_ns = 5 * MS
        self.stamp_error_ns = 0
        self.now_ns = self.start_ns
        self._generator = np.random.default_rng(3)

    def true_ns(self, taken: int) -> float:
        return self.start_ns + taken * self.period_ns

    def lose(self, num_samples: int) -> None:
        self.taken += num_samples
        self.follows_loss = True

    def read(self, timeout_s: float) -> PcmBlock | None:
        if self.is_mute:
            self.now_ns += round(timeout_s * 1e9)
            return None
        numbers = np.arange(self.taken, self.taken + PERIOD)
        pcm = (numbers % CLICK_EVERY < 24).astype(np.float32)
        self.taken += PERIOD
        self.given += PERIOD
        self.now_ns = round(self.true_ns(self.taken) + 3 * MS + self.jitter_ns)
        late_ns = self._generator.uniform(0, self.jitter_ns)
        ahead_ns = MONOTONIC_AHEAD_NS if self.clock is KernelClock.MONOTONIC else 0
        block = PcmBlock(
            first_sample=self.given - PERIOD,
            pcm=pcm,
            stamp_sample=self.given,
            stamp_ns=round(self.true_ns(self.taken) + late_ns) + ahead_ns + self.stamp_error_ns,
            follows_loss=self.follows_loss,
        )
        self.follows_loss = False
        return block

    def close(self) -> None:
        self.is_mute = True

    def read_clock(self, clock: int) -> int:
        return self.now_ns + (MONOTONIC_AHEAD_NS if clock == KernelClock.MONOTONIC else 0)

    def clock_ns(self) -> NodeNs:
        return NodeNs(self.now_ns)


def microphone(card: Card, **config: object) -> Microphone:
    return Microphone(
        MicrophoneConfig(device="the test's card", **config),  # type: ignore[arg-type]
        card,
        make_resampler=lambda rate_hz: Resampler(from_hz=rate_hz, to_hz=16_000),
        clock_ns=card.clock_ns,
        converter=StampConverter(card.clock, read=card.read_clock),
    )


def listen(made: Microphone, seconds: float) -> list[AudioBlock]:
    found = [sample for _ in range(round(seconds * RATE_HZ / PERIOD)) for sample in made.read(0.5)]
    assert all(isinstance(sample, AudioBlock) for sample in found)
    return [sample for sample in found if isinstance(sample, AudioBlock)]


def onsets_ns(blocks: list[AudioBlock]) -> list[float]:
    """When clicks begin: the last sample below half of each rise, and the part of the way up."""
    pcm: FloatArray = np.concatenate([block.pcm for block in blocks])
    times = np.concatenate(
        [block.t_node_ns + np.arange(len(block.pcm)) / block.rate_hz * 1e9 for block in blocks]
    )
    rises = np.flatnonzero((pcm[:-1] < 0.5) & (pcm[1:] >= 0.5))
    share = (0.5 - pcm[rises]) / (pcm[rises + 1] - pcm[rises])
    found: list[float] = (times[rises] + share * (times[rises + 1] - times[rises])).tolist()
    return found


def test_every_click_is_at_its_time_and_the_jitter_of_blocks_is_not_in_it() -> None:
    card = Card()
    made = microphone(card, latency_s=0.0025)  # what the stamps are late on the mean
    blocks = listen(made, 30.0)
    numbers = range(CLICK_EVERY, card.taken, CLICK_EVERY)
    found = onsets_ns(blocks)
    errors_ms = [
        (t_ns - card.true_ns(number)) / MS for t_ns, number in zip(found, numbers, strict=False)
    ]
    assert len(errors_ms) > 100
    assert np.abs(errors_ms[4:]).max() < 0.5
    assert np.abs(errors_ms[-40:]).max() < 0.2
    assert made.clock.skew_ppm == pytest.approx(451.0, abs=8.0)


def test_blocks_are_one_timeline_at_the_features_rate_whatever_the_card_s_is() -> None:
    blocks = listen(microphone(Card()), 10.0)
    for before, after in itertools.pairwise(blocks):
        ends_ns = before.t_node_ns + len(before.pcm) / before.rate_hz * 1e9
        assert after.t_node_ns == pytest.approx(ends_ns, abs=1.0)
        assert after.rate_hz == pytest.approx(16_000, rel=0.0101)
    assert sum(len(block.pcm) for block in blocks) == pytest.approx(160_000, abs=3_300)


def test_sound_is_held_until_its_line_is_known() -> None:
    made = microphone(Card())
    assert listen(made, 0.1) == []
    (first, *_) = listen(made, 5.0)
    assert len(first.pcm) / 16_000 > 0.3


def test_after_a_loss_the_timeline_begins_anew_where_the_sound_is() -> None:
    card = Card()
    made = microphone(card, latency_s=0.0025)
    before = listen(made, 20.0)
    card.lose(24_000)
    after = listen(made, 10.0)
    assert made.counts["lost"] == 1
    assert made.clock.num_pieces == 2
    joined = [*before[-1:], *after]
    gaps_ns = [
        b.t_node_ns - a.t_node_ns - len(a.pcm) / a.rate_hz * 1e9
        for a, b in itertools.pairwise(joined)
    ]
    assert max(gaps_ns) == pytest.approx(500 * MS, abs=8 * MS)
    click = next(number for number in range(0, card.taken, CLICK_EVERY) if number > 990_000)
    last = onsets_ns(after)[-1]
    nearest = round((last - card.true_ns(click)) / card.period_ns / CLICK_EVERY)
    assert last == pytest.approx(card.true_ns(click + nearest * CLICK_EVERY), abs=0.5 * MS)


def test_a_small_leap_is_made_up_for_and_a_large_one_is_left_to_the_features_to_see() -> None:
    """Samples lost without a word: 9 ms are caught up with, 60 ms are a gap in the rows."""
    for num_samples, num_leaps in ((432, 0), (2880, 1)):
        card = Card()
        made = microphone(card, latency_s=0.0025)
        blocks = listen(made, 20.0)
        card.taken += num_samples
        blocks += listen(made, 20.0)
        assert made.counts["leaps"] == num_leaps
        last = onsets_ns(blocks)[-1]
        number = round((last - card.start_ns) / card.period_ns / CLICK_EVERY) * CLICK_EVERY
        assert last == pytest.approx(card.true_ns(number), abs=0.5 * MS)


def test_sound_between_losses_without_a_word_is_not_handed_out_at_a_guess() -> None:
    """A card that loses 30 ms every second: nothing is stamped as if it had not."""
    card = Card()
    made = microphone(card, latency_s=0.0025)
    blocks: list[AudioBlock] = []
    for _ in range(20):
        blocks += listen(made, 1.0)
        card.taken += 1440
    assert made.counts["broken"] >= 10
    for t_ns in onsets_ns(blocks) if blocks else []:
        number = round((t_ns - card.start_ns) / card.period_ns / CLICK_EVERY) * CLICK_EVERY
        assert t_ns == pytest.approx(card.true_ns(number), abs=35 * MS)


def test_stamps_too_wild_to_settle_are_believed_once_their_line_has_held() -> None:
    card = Card()
    card.jitter_ns = 60 * MS
    made = microphone(card, latency_s=0.03)
    assert listen(made, 4.5) == []
    assert listen(made, 5.0)
    assert "broken" not in made.counts


def test_the_features_make_one_unbroken_run_of_rows_of_it() -> None:
    features, made = make_extractor("audio"), microphone(Card(), latency_s=0.0025)
    rows = [hop for block in listen(made, 20.0) for hop in features.push(block)]
    starts = [hop.t0_node_ns for hop in rows]
    lengths = [len(hop.rows) * 50 * MS for hop in rows]
    assert [a + n for a, n in zip(starts, lengths, strict=True)][:-1] == starts[1:]


def test_stamps_of_another_clock_than_they_say_are_counted_and_not_used() -> None:
    card = Card(KernelClock.RAW)
    made = microphone(card)
    card.stamp_error_ns = -30_000_000_000
    assert listen(made, 1.0) == []
    assert made.counts["unplaced"] == 100
    with pytest.raises(SourceSilent, match="none of its stamps is of the clock that it names"):
        listen(made, 5.0)


def test_a_card_that_gives_nothing_is_silent() -> None:
    card = Card()
    made = microphone(card)
    listen(made, 1.0)
    card.is_mute = True
    with pytest.raises(SourceSilent, match="no sample in 5 s"):
        listen(made, 1.0)


# alsa-lib


@pytest.mark.parametrize(
    ("form", "raw"),
    [
        ("S16_LE", np.array([16384, 0, -32768, -32768], "<i2").tobytes()),
        ("S32_LE", np.array([2**30, 0, -(2**31), -(2**31)], "<i4").tobytes()),
        ("S24_3LE", bytes.fromhex("000040 000000 000080 000080".replace(" ", ""))),
        ("FLOAT_LE", np.array([0.5, 0, -1, -1], "<f4").tobytes()),
    ],
)
def test_channels_of_every_format_are_averaged(form: str, raw: bytes) -> None:
    assert to_mono(raw, form, 2).tolist() == [0.25, -1.0]


def test_a_system_without_alsa_lib_is_told_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(_name: str) -> None:
        raise OSError("libasound.so.2: cannot open shared object file")

    load_alsa.cache_clear()
    monkeypatch.setattr(alsa_pcm.ctypes, "CDLL", absent)
    with pytest.raises(SourceUnfit, match="sudo apt install libasound2"):
        AlsaPcm("default", rate_hz=RATE_HZ)


def test_a_card_that_is_not_there_is_named() -> None:
    try:
        load_alsa()
    except SourceUnfit as exc:
        pytest.skip(str(exc))
    with pytest.raises(SourceAbsent, match=r"hw:9: .*arecord -L"):
        AlsaPcm("hw:9", rate_hz=RATE_HZ)


def test_a_card_that_may_not_be_used_is_not_taken_for_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_refused(tmp_path)
    device = tmp_path / "dev/snd/pcmC0D0c"
    device.parent.mkdir(parents=True)
    device.touch()
    assert not is_refused(tmp_path)
    monkeypatch.setattr(alsa_pcm.os, "access", lambda *_: False)
    assert is_refused(tmp_path)


# Configuration


@pytest.mark.parametrize(
    ("key", "value"), [("device", ""), ("rate_hz", 4000), ("latency_s", float("nan"))]
)
def test_a_wrong_value_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(BadConfig, match=key):
        MicrophoneConfig(**{"device": "hw:0", key: value})  # type: ignore[arg-type]


def test_a_microphone_is_a_stream_of_the_node() -> None:
    config = SourcesConfig(microphone={"mic": MicrophoneConfig(device="hw:0")})
    found = [(name, modality) for name, modality, _ in config.openers(ClockLinks())]
    assert found == [("mic", "audio")]


def test_the_latency_says_whether_it_is_a_guess() -> None:
    guessed, measured = (microphone(Card(), **each).timing for each in ({}, {"latency_s": 0.003}))
    assert "typical" in guessed.how
    assert "as configured" in measured.how
    assert measured.sigma_ns < guessed.sigma_ns
    assert measured.latency_ns == pytest.approx(3e6)
