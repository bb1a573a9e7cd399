"""The probe's core on this machine, sanitized: against cobs, binascii and simulated pulses."""

import binascii
import json
import math
import random
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coeval_edge.sources.probe_wire import (
    Edge,
    Hello,
    Motion,
    ProbeStream,
    ProbeVersion,
    Pulse,
    Status,
    unframe,
)

from . import probe_core

cobs = pytest.importorskip("cobs.cobs", reason="cobs is absent: pip install 'coeval[probe]'")

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/probe.json").read_text())
KINDS = {"hello": Hello, "pulse": Pulse, "edge": Edge, "motion": Motion, "status": Status}
HZ = 62_500_000
TICK_NS = 16
WANDER_PPB = 5.0
FRAME_ROOM = 80

records = st.binary(min_size=1, max_size=64)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return probe_core.load(tmp_path_factory.mktemp("core"))


def encode(core: Any, record: bytes) -> bytes:
    ffi, lib = core
    out = ffi.new("uint8_t[]", FRAME_ROOM)
    return bytes(ffi.buffer(out, lib.cp_frame_encode(record, len(record), out)))


def decode(core: Any, data: bytes) -> tuple[list[bytes], list[int]]:
    """Records, and what else the decoder said."""
    ffi, lib = core
    decoder = ffi.new("cp_decoder *")
    lib.cp_decoder_init(decoder)
    records, said = [], []
    for byte in data:
        result = lib.cp_decoder_push(decoder, byte)
        if result == lib.CP_FRAME_RECORD:
            records.append(bytes(ffi.buffer(decoder.record, decoder.length)))
        elif result != lib.CP_FRAME_NONE:
            said.append(result)
    return records, said


# Frames


@given(st.binary(max_size=300))
def test_the_crc_is_that_of_binascii(core: Any, data: bytes) -> None:
    assert core[1].cp_crc16(data, len(data)) == binascii.crc_hqx(data, 0xFFFF)


@given(records)
def test_a_frame_is_what_the_cobs_package_makes_of_it(core: Any, record: bytes) -> None:
    crc = binascii.crc_hqx(record, 0xFFFF).to_bytes(2, "big")
    frame = encode(core, record)
    assert frame == cobs.encode(record + crc) + b"\0"
    assert unframe(frame[:-1]) == record


@given(st.lists(records, max_size=5), st.binary(max_size=40))
def test_after_noise_every_frame_but_the_first_is_read(
    core: Any, sent: list[bytes], noise: bytes
) -> None:
    framed = b"".join(encode(core, record) for record in sent)
    got, _ = decode(core, noise + framed)
    assert got[-len(sent) + 1 :] == sent[1:] if len(sent) > 1 else True
    assert decode(core, noise + b"\0" + framed)[0][-len(sent) :] == sent or not sent


@given(records, st.data())
def test_no_single_flipped_bit_passes(core: Any, record: bytes, data: st.DataObject) -> None:
    frame = bytearray(encode(core, record))
    bit = data.draw(st.integers(0, 8 * (len(frame) - 1) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert record not in decode(core, bytes(frame))[0]


@given(st.binary(max_size=400))
def test_both_decoders_make_the_same_of_anything(core: Any, data: bytes) -> None:
    got, said = decode(core, data + b"\0")
    theirs = [frame for frame in (data + b"\0").split(b"\0")[:-1] if frame]
    read = [unframe(frame) for frame in theirs if len(frame) <= 67]
    assert got == [record for record in read if isinstance(record, bytes) and len(record) <= 64]
    assert len(got) + len(said) == len(theirs)


def test_a_record_too_long_for_a_frame_is_not_written(core: Any) -> None:
    assert encode(core, bytes(65)) == b""


def test_each_fault_of_a_frame_has_its_name(core: Any) -> None:
    lib = core[1]
    good = encode(core, b"abc")
    faults = b"\x01\x01\0" + b"\x09ab\0" + good[:-2] + b"\x7f\0" + b"\x41" + b"a" * 90 + b"\0"
    assert decode(core, faults + good) == (
        [b"abc"],
        [lib.CP_FRAME_SHORT, lib.CP_FRAME_COBS, lib.CP_FRAME_CRC, lib.CP_FRAME_LONG],
    )


# The ring


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=20), st.integers(0, 40)), max_size=60))
def test_the_ring_keeps_whole_messages_in_order(core: Any, steps: list[bytes | int]) -> None:
    ffi, lib = core
    storage, ring, length = ffi.new("uint8_t[32]"), ffi.new("cp_ring *"), ffi.new("uint32_t *")
    lib.cp_ring_init(ring, storage, 32)
    ring.written = ring.taken = 2**32 - 10
    queued, dropped = b"", 0
    for step in steps:
        if isinstance(step, bytes):
            fits = len(queued) + len(step) <= 32
            assert (lib.cp_ring_put(ring, step, len(step)) == lib.CP_RING_OK) == fits
            queued, dropped = queued + step * fits, dropped + (not fits)
            continue
        at = lib.cp_ring_peek(ring, length)
        taken = min(step, length[0])
        assert bytes(ffi.buffer(at, taken)) == queued[:taken] if queued else at == ffi.NULL
        lib.cp_ring_take(ring, taken)
        queued = queued[taken:]
        assert lib.cp_ring_queued(ring) == len(queued)
    assert ring.num_dropped == dropped


# Ticks


@given(st.integers(0, 2**63), st.integers(-(2**31) + 1, 2**31 - 1))
@example(2**40, 2**31 - 1)
@example(2**40, -(2**31) + 1)
def test_ticks_unwrap_to_either_side(core: Any, near: int, away: int) -> None:
    tick = near + away
    assert core[1].cp_ticks_unwrap(near, tick % 2**32) == max(tick, 0)


# Records


@pytest.mark.parametrize("vector", VECTORS["records"], ids=lambda v: v["name"])
def test_vectors_are_read_by_the_driver(vector: dict[str, Any]) -> None:
    stream = ProbeStream()
    [(record, _)] = list(stream.push(bytes.fromhex(vector["frame"])))
    assert type(record) is KINDS[vector["kind"]]
    got = json.loads(json.dumps(vectors_form(record)))
    assert got == vector["fields"]


@pytest.mark.parametrize("vector", VECTORS["records"], ids=lambda v: v["name"])
def test_vectors_are_written_by_the_core(core: Any, vector: dict[str, Any]) -> None:
    ffi, lib = core
    out = ffi.new("uint8_t[64]")
    fields = vector["fields"]
    length = WRITERS[vector["kind"]](ffi, lib, out, fields)
    assert bytes(ffi.buffer(out, length)).hex() == vector["record"]
    assert encode(core, bytes(ffi.buffer(out, length))).hex() == vector["frame"]


def vectors_form(record: Any) -> dict[str, Any]:
    """A record as the vectors have it."""
    found: dict[str, Any] = {}
    for name in type(record).__slots__:
        value = getattr(record, name)
        found[name] = (
            vectors_form(value) if hasattr(type(value), "__slots__") and name == "at" else value
        )
    return found


def instant(fields: dict[str, Any]) -> Any:
    return {
        "tick": fields["tick"],
        "is_known": fields["second"] is not None,
        "second": fields["second"] or 0,
        "ns": fields["ns"] or 0,
        "sigma_ns": 70_000 if fields["sigma_ns"] is None else fields["sigma_ns"],
    }


def or_(value: Any, unknown: int) -> Any:
    return unknown if value is None else value


def write_hello(ffi: Any, lib: Any, out: Any, f: dict[str, Any]) -> int:
    record = ffi.new(
        "cp_hello *",
        {
            "protocol": f["protocol"],
            "version": f["version"],
            "board_id": list(bytes.fromhex(f["board_id"])),
            "tick_hz": f["tick_hz"],
            "source_id": list(bytes.fromhex(f["source_id"])),
            "num_inputs": f["num_inputs"],
            "imu": f["imu"],
            "imu_period_us": f["imu_period_us"],
            "reset_reason": f["reset_reason"],
        },
    )
    return int(lib.cp_write_hello(out, f["sequence"], record))


def write_pulse(ffi: Any, lib: Any, out: Any, f: dict[str, Any]) -> int:
    record = ffi.new(
        "cp_pps_record *",
        {
            "tick": f["tick"],
            "verdict": f["verdict"],
            "state": f["state"],
            "second": or_(f["second"], 2**32 - 1),
            "residual_ns": or_(f["residual_ns"], -(2**31)),
            "rate_ppb": or_(f["rate_ppb"], -(2**31)),
            "sigma_ns": or_(f["sigma_ns"], 2**16 - 1),
        },
    )
    return int(lib.cp_write_pps(out, f["sequence"], record))


def write_edge(ffi: Any, lib: Any, out: Any, f: dict[str, Any]) -> int:
    record = ffi.new(
        "cp_edge *", {"input": f["input"], "state": f["state"], "at": instant(f["at"])}
    )
    return int(lib.cp_write_edge(out, f["sequence"], record))


def write_motion(ffi: Any, lib: Any, out: Any, f: dict[str, Any]) -> int:
    record = ffi.new(
        "cp_sample *",
        {
            "sensor": f["sensor"],
            "state": f["state"],
            "at": instant(f["at"]),
            "accel": f["accel"],
            "gyro": f["gyro"],
            "temperature": f["temperature"],
        },
    )
    return int(lib.cp_write_sample(out, f["sequence"], record))


def write_status(ffi: Any, lib: Any, out: Any, f: dict[str, Any]) -> int:
    counts = ("good", "missed", "spurious", "doubled", "searching", "regridded")
    record = ffi.new(
        "cp_status *",
        {
            "tick": f["tick"],
            "state": f["state"],
            "sigma_ns": or_(f["sigma_ns"], 2**16 - 1),
            "rate_ppb": or_(f["rate_ppb"], -(2**31)),
            "centi_celsius": -(2**15) if f["celsius"] is None else round(f["celsius"] * 100),
            "most_queued": f["most_queued"],
            "num_dropped": f["num_dropped"],
            "num_overrun": f["num_overrun"],
            "num_imu_failed": f["num_imu_failed"],
            "counts": {name: f[name] for name in counts},
        },
    )
    return int(lib.cp_write_status(out, f["sequence"], record))


WRITERS: dict[str, Callable[..., int]] = {
    "hello": write_hello,
    "pulse": write_pulse,
    "edge": write_edge,
    "motion": write_motion,
    "status": write_status,
}


# The clock of the pulses


class Pulses:
    """A counter whose crystal is off, and what its clock makes of the pulses it sees."""

    def __init__(self, core: Any, *, ppm: float = 0.0, start_s: float = 3.3) -> None:
        self.ffi, self.lib = core
        self.clock = self.ffi.new("cp_pps *")
        self.lib.cp_pps_init(self.clock)
        self.rate, self.start_s = 1.0 + ppm * 1e-6, start_s

    def tick(self, t_s: float) -> int:
        """What the counter reads at a true time, in seconds from the first pulse."""
        return math.floor((self.start_s + t_s) * self.rate * HZ)

    def pulse(self, t_s: float) -> Any:
        return self.lib.cp_pps_push(self.clock, self.tick(t_s))

    def pulses(self, times_s: Any) -> list[int]:
        return [self.pulse(t).verdict for t in times_s]

    def pass_(self, t_s: float) -> None:
        self.lib.cp_pps_pass(self.clock, self.tick(t_s))

    def error_ns(self, t_s: float) -> float:
        """Stated − true time of an edge."""
        second, ns = self.ffi.new("uint32_t *"), self.ffi.new("uint32_t *")
        assert self.lib.cp_pps_time(self.clock, self.tick(t_s), second, ns) == self.lib.CP_TIME_OK
        return second[0] * 1e9 + ns[0] - t_s * 1e9

    @property
    def counts(self) -> dict[str, int]:
        names = ("good", "missed", "spurious", "doubled", "searching", "regridded")
        return {name: getattr(self.clock.counts, name) for name in names}


@pytest.mark.parametrize("ppm", [-500.0, -50.0, -3.7, 0.0, 12.34, 50.0, 499.0])
def test_edges_between_pulses_are_told_to_two_ticks(core: Any, ppm: float) -> None:
    rng = random.Random(round(ppm * 10))
    line = Pulses(core, ppm=ppm)
    line.pulses(range(4))
    errors = []
    for second in range(4, 100):
        line.pulse(second)
        errors += [line.error_ns(second + rng.random()) for _ in range(20)]
    assert max(map(abs, errors)) <= 2 * TICK_NS
    assert line.lib.cp_pps_rate_ppb(line.clock) == pytest.approx(ppm * 1e3, abs=8)


def test_nothing_is_told_before_four_pulses_in_a_row(core: Any) -> None:
    line = Pulses(core)
    assert line.pulses(range(3)) == [line.lib.CP_PULSE_SEARCHING] * 3
    number = line.ffi.new("uint32_t *")
    assert line.lib.cp_pps_time(line.clock, line.tick(2), number, number) != line.lib.CP_TIME_OK
    assert line.lib.cp_pps_rate_ppb(line.clock) == -(2**31)
    assert line.clock.sigma_ns == 2**32 - 1
    assert line.pulse(3).verdict == line.lib.CP_PULSE_GOOD
    assert line.clock.state == line.lib.CP_PPS_LOCKED


def test_missing_pulses_are_counted_and_the_seconds_go_on(core: Any) -> None:
    line = Pulses(core, ppm=20)
    line.pulses(range(10))
    line.pass_(12.6)
    assert (line.clock.state, line.counts["missed"]) == (line.lib.CP_PPS_HOLDOVER, 3)
    assert line.pulse(14).second == 14
    assert line.clock.state == line.lib.CP_PPS_LOCKED
    assert line.counts == {
        "good": 8,
        "missed": 4,
        "spurious": 0,
        "doubled": 0,
        "searching": 3,
        "regridded": 0,
    }


def test_early_and_doubled_pulses_do_not_move_the_clock(core: Any) -> None:
    line = Pulses(core, ppm=-31)
    line.pulses(range(6))
    said = line.pulses([6, 6.0000004, 6.003, 6.9, 7, 7.5, 7.99997, 8])
    lib = line.lib
    good, spurious, doubled = lib.CP_PULSE_GOOD, lib.CP_PULSE_SPURIOUS, lib.CP_PULSE_DOUBLED
    assert said == [good, doubled, doubled, spurious, good, spurious, spurious, good]
    assert abs(line.error_ns(8.4)) <= 2 * TICK_NS


def test_pulses_may_be_farther_off_the_longer_none_came(core: Any) -> None:
    for late_s, verdict in ((10e-6, core[1].CP_PULSE_GOOD), (30e-6, core[1].CP_PULSE_SPURIOUS)):
        line = Pulses(core)
        line.pulses(range(12))
        assert line.pulse(111 + late_s).verdict == verdict
    line = Pulses(core)
    line.pulses(range(12))
    assert line.pulse(12 + 10e-6).verdict == core[1].CP_PULSE_SPURIOUS


def test_pulses_that_moved_are_followed_after_four(core: Any) -> None:
    line = Pulses(core)
    line.pulses(range(6))
    assert line.pulses([k + 0.3 for k in range(6, 9)]) == [line.lib.CP_PULSE_SPURIOUS] * 3
    assert line.pulse(9.3).verdict == line.lib.CP_PULSE_GOOD
    assert line.counts["regridded"] == 1
    assert line.pulse(10.3).second == 10


@pytest.mark.parametrize("period_s", [0.1, 0.2, 0.5, 2.0, 5.0, 0.97])
def test_pulses_of_another_rate_are_named_and_tell_no_time(core: Any, period_s: float) -> None:
    line = Pulses(core)
    line.pulses([k * period_s for k in range(60)])
    assert line.clock.state == line.lib.CP_PPS_WRONG_RATE
    assert line.counts["good"] == 0
    line.pass_(60 * period_s + 10)
    assert line.clock.state == line.lib.CP_PPS_SEARCHING


def test_a_beat_from_before_the_last_pulse_does_not_forget_a_wrong_rate(core: Any) -> None:
    line = Pulses(core)
    line.pulses([k * 2.0 for k in range(10)])
    line.pass_(17.99)
    assert line.clock.state == line.lib.CP_PPS_WRONG_RATE


def test_glitches_while_searching_only_delay_the_lock(core: Any) -> None:
    line = Pulses(core)
    line.pulses([0.4, 1, 2, 2.2, 3, 4, 5])
    assert line.clock.state == line.lib.CP_PPS_LOCKED


@pytest.mark.parametrize("seed", range(20))
def test_holdover_keeps_within_what_the_clock_states(core: Any, seed: int) -> None:
    rng = random.Random(seed)
    line = Pulses(core, ppm=rng.uniform(-50, 50), start_s=rng.random())
    line.pulses(range(12))
    for after_s in (1.4, 10, 30, 60, 200):
        line.pass_(11 + after_s)
        assert abs(line.error_ns(11 + after_s)) <= 3 * line.clock.sigma_ns
    assert line.clock.sigma_ns < 20_000


def test_the_clock_ends_when_holdover_does(core: Any) -> None:
    line = Pulses(core)
    line.pulses(range(6))
    line.pass_(5 + 251)
    assert (line.clock.state, line.clock.sigma_ns) == (line.lib.CP_PPS_SEARCHING, 2**32 - 1)
    line.pulses(range(300, 304))
    assert abs(line.error_ns(303.5)) <= 2 * TICK_NS


def test_the_clock_says_how_far_pulses_scatter(core: Any) -> None:
    rng = random.Random(5)
    line = Pulses(core, ppm=7)
    stated, errors = [], []
    for second in range(400):
        line.pulse(second + rng.gauss(0, 400e-9))
        if second > 10:
            line.pass_(second + 0.5)
            stated.append(line.clock.sigma_ns)
            errors.append(line.error_ns(second + 0.5))
    rms = math.sqrt(sum(e * e for e in errors) / len(errors))
    mean = math.sqrt(sum(s * s for s in stated) / len(stated))
    assert rms == pytest.approx(mean, rel=0.3)


class Wandering(Pulses):
    """A crystal whose rate takes a random walk, as much in a second as the clock allows for."""

    def __init__(self, core: Any, *, seed: int) -> None:
        super().__init__(core)
        rng, rate_ppb, ahead_ns = random.Random(seed), 0.0, 0.0
        self.ahead_ns = [0.0]
        for _ in range(400):
            ahead_ns += rate_ppb
            rate_ppb += rng.gauss(0, WANDER_PPB)
            self.ahead_ns.append(ahead_ns)

    def tick(self, t_s: float) -> int:
        whole = math.floor(t_s)
        here, there = self.ahead_ns[whole : whole + 2]
        return math.floor(
            (self.start_s + t_s + (here + (t_s - whole) * (there - here)) * 1e-9) * HZ
        )


def test_holdover_of_a_crystal_that_wanders_keeps_within_what_the_clock_states(core: Any) -> None:
    errors = []
    for seed in range(40):
        line = Wandering(core, seed=seed)
        line.pulses(range(12))
        for after_s in (30, 60, 200):
            line.pass_(11 + after_s)
            errors.append(line.error_ns(11 + after_s) / line.clock.sigma_ns)
    assert max(map(abs, errors)) <= 4
    assert statistics.pstdev(errors) == pytest.approx(1.0, abs=0.4)


# Whether these tests would notice


CHANGES: list[tuple[str, str, str, Callable[[Any], None]]] = [
    ("cp_ticks.c", "0x80000000u", "0xC0000000u", test_ticks_unwrap_to_either_side),
    (
        *("cp_ticks.c", "behind > near ? 0u : near - behind", "near - behind"),
        test_ticks_unwrap_to_either_side,
    ),
    (
        *("cp_pps.c", "steps == 0u || size_ns > gate_ns", "steps == 0u"),
        test_early_and_doubled_pulses_do_not_move_the_clock,
    ),
    (
        *("cp_pps.c", "+ 4 * (int64_t)cp_pps_sigma_after", "+ 0 * (int64_t)cp_pps_sigma_after"),
        test_pulses_may_be_farther_off_the_longer_none_came,
    ),
    (
        *("cp_pps.c", "clock->correction_q36, 20", "clock->correction_q36, 21"),
        lambda core: test_holdover_keeps_within_what_the_clock_states(core, 1),
    ),
    (
        *("cp_pps.c", "elapsed * elapsed * elapsed / 3000000000", "elapsed / 3000000000"),
        test_holdover_of_a_crystal_that_wanders_keeps_within_what_the_clock_states,
    ),
    (
        *("cp_pps.c", "arm_ms * arm_ms / (clock", "arm_ms / (clock"),
        test_the_clock_says_how_far_pulses_scatter,
    ),
    (
        *(
            "cp_pps.c",
            "since > (int64_t)CP_PPS_HOLDOVER_S",
            "since > 2 * (int64_t)CP_PPS_HOLDOVER_S",
        ),
        test_the_clock_ends_when_holdover_does,
    ),
    (
        *("cp_pps.c", "clock->state = CP_PPS_HOLDOVER;", ""),
        test_missing_pulses_are_counted_and_the_seconds_go_on,
    ),
]
"""File, what is there, what is put in its place, and a test that has to fail then."""


@pytest.mark.parametrize(("file", "old", "new", "notice"), CHANGES)
def test_a_broken_core_is_noticed(
    tmp_path: Path, file: str, old: str, new: str, notice: Callable[[Any], None]
) -> None:
    broken = probe_core.load(tmp_path, change=(file, old, new))
    with pytest.raises(AssertionError):
        notice(broken)


# The decoder, fuzzed


def test_the_fuzzer_finds_nothing_with_both_sanitizers(tmp_path: Path) -> None:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if not probe_core.sanitizes(flags[0], tmp_path):
        pytest.skip("this compiler has no address sanitizer")
    sources = [*map(str, probe_core.SOURCES), str(probe_core.CORE / "fuzz_decoder.c")]
    program = tmp_path / "fuzz"
    command = [probe_core.compiler(), *probe_core.FLAGS, *flags, *sources, "-o", str(program)]
    subprocess.run(command, check=True)
    subprocess.run([str(program), "2000", "42"], check=True, timeout=1200)


# What the driver counts


def test_gaps_and_unknown_records_are_counted(core: Any) -> None:
    stream = ProbeStream()
    status = bytes.fromhex(next(v for v in VECTORS["records"] if v["kind"] == "status")["record"])
    later = status[:2] + (int.from_bytes(status[2:4], "little") + 4).to_bytes(2, "little")
    data = encode(core, status) + encode(core, later + status[4:])
    data += encode(core, b"\x63" + later[1:] + b"?") + encode(core, b"\x05\x02" + later[2:])
    data += encode(core, later + b"short")
    assert len(list(stream.push(data))) == 2
    assert stream.counts["lost"] == 3 + 3 * 65_535
    assert (stream.counts["unknown"], stream.counts["malformed"]) == (2, 1)


def test_another_protocol_is_refused_by_name(core: Any) -> None:
    hello = bytearray.fromhex(VECTORS["records"][0]["record"])
    hello[4] = 0
    with pytest.raises(ProbeVersion, match=r"version 0, this program 1; reflash it"):
        list(ProbeStream().push(encode(core, bytes(hello))))
    hello[4] = 2
    with pytest.raises(ProbeVersion, match="update Coeval"):
        list(ProbeStream().push(encode(core, bytes(hello))))
