"""What encoders cost: time a hop and a window, bytes, the share that features take, a whole node.

One thread, CPU time, the fastest of several timings; beside them what two well-known computations
take in the same process, because machines differ and are shared. What other boards would take is
extrapolated by published figures, and called so.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import cast

import av
import numpy as np
import onnxruntime

from coeval.features import DIMS, make_extractor
from coeval.features.picture import FRAME_HEIGHT, FRAME_WIDTH
from coeval.hops import HOP_NS
from coeval.lag import good_fft_size
from coeval.samples import (
    AudioBlock,
    Frame,
    MetadataBlock,
    Modality,
    Sample,
    TextLine,
)
from coeval.time import NS_PER_S, NodeNs
from coeval.wire import encode_block
from coeval_edge.encoder import NEW_HOPS, WINDOW_HOPS, Encoder, shipped_model
from coeval_edge.media import Greyer, video_frames
from coeval_edge.pipeline import BLOCK_HOPS, StreamPipeline
from coeval_lab.bench.encoders_plan import Plan, Row
from coeval_lab.bench.metrics import rounded

SPEED = "speed"
"""The section of these rows."""
NODE = "node: video, audio, IMU, text"
NODE_DECODING = "node, with decoding of H.264"
WIDTH, HEIGHT, FRAMES_HZ = 160, 120, 25
IMU_HZ, SOUND_HZ = 200, 16_000
LINE_EVERY_S = 3.0
TICK_NS = NS_PER_S // 10
"""A live node looks at its streams about so often."""
LEAST_TIMING_S = 0.02
"""One timing lasts at least this long."""

THIS_CPU = "AMD EPYC, family 25, model 17"
SEVEN_ZIP = {"Raspberry Pi 4": 1660.0, "Raspberry Pi 5": 2967.0, "Jetson Orin NX": 2379.0}
"""7-zip, one thread, MIPS: github.com/ThomasKaiser/sbc-bench, results/reviews (RPi-4B-Rev1.1 at
1.5 GHz, RPi-5B-Rev1.0 at 2.4 GHz, AAEON BOXER-8654AI with an Orin NX at 1.73 GHz)."""
SEVEN_ZIP_HERE = {THIS_CPU: 3863.0}
"""`7zz b 1 -mmt1` of 7-zip 26.02, the rating by CPU time used, 2026-11-25."""
LINPACK = {
    "Raspberry Pi 4": 11.889 / 4,
    "Raspberry Pi 5": 30.249 / 4,
    "Jetson Orin NX": 30.249 / 4 * 1.728 / 2.4,
}
"""HPL, a core, double precision, GFLOPS: github.com/geerlingguy/top500-benchmark, README, of four
cores; the Orin's core, of which there is no figure, has the same vector units as the Pi 5's and is
taken by its clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A stream as a live node reads it."""

    modality: Modality
    """Its modality."""
    samples: Sequence[Sample]
    """In time order."""


def fastest_s(work: Callable[[], object], *, repeats: int) -> float:
    """CPU time of one call, the fastest of some timings of many calls."""
    work()
    began_s = time.process_time()
    work()
    once_s = max(time.process_time() - began_s, 1e-7)
    calls = max(round(LEAST_TIMING_S / once_s), 1)
    best_s = float("inf")
    for _ in range(repeats):
        began_s = time.process_time()
        for _ in range(calls):
            work()
        best_s = min(best_s, (time.process_time() - began_s) / calls)
    return best_s


def loads(seconds: float, rng: np.random.Generator) -> list[Load]:
    """Streams of moving pictures, sound, readings, lines and stills, as a live node gets them."""
    pictures = moving_pictures(round(seconds * FRAMES_HZ), rng)
    greys = [shrunk(picture) for picture in pictures]
    frames: list[Sample] = [
        Frame(t_node_ns=NodeNs(round(k * NS_PER_S / FRAMES_HZ)), grey=grey)
        for k, grey in enumerate(greys)
    ]
    loud = np.repeat(rng.uniform(0.01, 0.3, round(seconds * 10)), SOUND_HZ // 10)
    pcm = (rng.standard_normal(len(loud)) * loud).astype(np.float32)
    size = SOUND_HZ // 10
    sound: list[Sample] = [
        AudioBlock(
            t_node_ns=NodeNs(k * TICK_NS), rate_hz=SOUND_HZ, pcm=pcm[k * size : (k + 1) * size]
        )
        for k in range(len(pcm) // size)
    ]
    turning = np.cumsum(rng.standard_normal((round(seconds * IMU_HZ), 6)), axis=0)
    times = (np.arange(len(turning)) * (NS_PER_S / IMU_HZ)).astype(np.int64)
    step = IMU_HZ // 10
    readings: list[Sample] = [
        MetadataBlock(t_node_ns=times[k : k + step], values=turning[k : k + step])
        for k in range(0, len(turning), step)
    ]
    lines: list[Sample] = [
        TextLine(
            t_node_ns=NodeNs(round(t_s * NS_PER_S)),
            t_end_node_ns=None,
            text=f"event {k}: door {int(rng.integers(9))} opened",
        )
        for k, t_s in enumerate(np.arange(0.5, seconds, LINE_EVERY_S))
    ]
    return [
        Load(modality="video", samples=frames),
        Load(modality="audio", samples=sound),
        Load(modality="metadata", samples=readings),
        Load(modality="text", samples=lines),
        Load(modality="image", samples=frames[::FRAMES_HZ]),
    ]


def moving_pictures(num: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Grey pictures of WIDTH × HEIGHT of a view that wanders over a landscape."""
    rough = rng.uniform(0, 255, (40, 50))
    rows, columns = np.linspace(0, 39, 2 * HEIGHT), np.linspace(0, 49, 2 * WIDTH)
    across = np.array([np.interp(columns, np.arange(50), row) for row in rough])
    land = np.array([np.interp(rows, np.arange(40), column) for column in across.T]).T
    walk = np.cumsum(rng.standard_normal((num, 2)), axis=0)
    places = (np.abs(walk) % [HEIGHT - 1, WIDTH - 1]).astype(int)
    return [land[y : y + HEIGHT, x : x + WIDTH].astype(np.uint8) for y, x in places]


def shrunk(picture: np.ndarray) -> np.ndarray:
    """A picture at the size of the features, as the node's own reader makes it."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")
    return Greyer(width=FRAME_WIDTH, height=FRAME_HEIGHT).grey(frame)


def speed_rows(plan: Plan) -> list[Row]:
    """Lines of every encoder, of the peers, of the node, and of other boards."""
    rng = np.random.default_rng([plan.seed, 31])
    streams = loads(plan.speed_s, rng)
    rows = [{"section": SPEED, **row} for row in peer_rows(plan, rng)]
    peer_us = rows[0]["us_window"]
    rows += [
        {"section": SPEED, **encoder_row(load, plan, rng, peer_us=peer_us)} for load in streams
    ]
    rows += [{"section": SPEED, **row} for row in node_rows(streams, plan)]
    return rows + [{"section": SPEED, **row} for row in board_rows(rows)]


def peer_rows(plan: Plan, rng: np.random.Generator) -> Iterator[Row]:
    """What well-known computations take here: the first is the unit of `of_correlation`."""
    a, b = (rng.standard_normal((16, 1200)).astype(np.float32) for _ in range(2))
    size = good_fft_size(2400)

    def correlate() -> object:
        return np.fft.irfft((np.fft.rfft(a, size).conj() * np.fft.rfft(b, size)).sum(axis=0), size)

    best_s = fastest_s(correlate, repeats=plan.speed_repeats)
    yield {"pair": "peer: FFT correlation, 60 s × 16", "method": "numpy", "us_window": us(best_s)}
    x = rng.standard_normal((512, 512))
    best_s = fastest_s(lambda: x @ x, repeats=plan.speed_repeats)
    yield {
        "pair": "peer: product of matrices, 512³, double",
        "method": "numpy",
        "us_window": us(best_s),
        "gflops": rounded(2 * 512**3 / best_s * 1e-9),
    }


def us(seconds: float) -> float:
    """Microseconds, three digits."""
    return rounded(seconds * 1e6)


def encoder_row(load: Load, plan: Plan, rng: np.random.Generator, *, peer_us: float) -> Row:
    """One modality's encoder as shipped, and its features; other precisions are told elsewhere."""
    modality = load.modality
    path = shipped_model(modality)
    features_s = features_hop_s(load, repeats=plan.speed_repeats)
    window = rng.standard_normal((1, WINDOW_HOPS, DIMS[modality])).astype(np.float32)
    session = session_of(path)
    window_s = fastest_s(lambda: session.run(None, {"rows": window}), repeats=plan.speed_repeats)
    hop_s = window_s / BLOCK_HOPS
    return {
        "pair": f"encoder: {modality}",
        "method": "fp32",
        "us_window": us(window_s),
        "us_hop": us(hop_s),
        "us_hop_batch": us(window_s / NEW_HOPS),
        "us_hop_features": us(features_s),
        "share_features": rounded(100 * features_s / (features_s + hop_s)),
        "kilobytes": round(path.stat().st_size / 1000, 1),
        "of_correlation": rounded(us(window_s) / peer_us),
    }


def session_of(path: Path) -> onnxruntime.InferenceSession:
    """A session of one thread, as the node's."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def features_hop_s(load: Load, *, repeats: int) -> float:
    """CPU time of a modality's features a hop of the stream."""

    def extract() -> int:
        extractor = make_extractor(load.modality)
        rows = [hops for sample in load.samples for hops in extractor.push(sample)]
        return sum(len(hops.rows) for hops in rows + extractor.flush())

    num_hops = extract()
    return fastest_s(extract, repeats=min(repeats, 3)) / max(num_hops, 1)


def node_rows(streams: Sequence[Load], plan: Plan) -> Iterator[Row]:
    """CPU time of the streams' own pipelines, blocks encoded for the wire, in % of one core."""
    shares: dict[Modality, float] = {}
    for load in streams:
        if load.modality != "image":
            spent_s = fastest_s(partial(carry, load), repeats=min(plan.speed_repeats, 3))
            shares[load.modality] = 100 * spent_s / plan.speed_s
    pictures = moving_pictures(round(plan.speed_s * FRAMES_HZ), np.random.default_rng(plan.seed))
    resize_s = resizing_s(pictures, repeats=plan.speed_repeats)
    resize = 100 * resize_s * FRAMES_HZ
    for modality, share in shares.items():
        yield {"pair": f"node: {modality}", "method": "features to blocks", "core": rounded(share)}
    yield {"pair": "node: pictures made 64 × 48", "method": "160 × 120", "core": rounded(resize)}
    whole = sum(shares.values()) + resize
    yield {"pair": NODE, "method": "without decoding", "core": rounded(whole)}
    for codec, name in (("libx264", "H.264"), ("mjpeg", "MJPEG")):
        decode_s = decoding_s(pictures, codec, repeats=min(plan.speed_repeats, 3))
        if decode_s is None:
            continue
        decode = 100 * decode_s * FRAMES_HZ
        yield {"pair": f"node: decoding of {name}", "method": "160 × 120", "core": rounded(decode)}
        if name == "H.264":
            yield {"pair": NODE_DECODING, "method": name, "core": rounded(whole + decode)}


def carry(load: Load) -> int:
    """A stream through its pipeline as a live node carries it; the bytes of its blocks."""
    encoder = Encoder.load(load.modality)
    pipeline = StreamPipeline(make_extractor(load.modality), encoder, name=load.modality, boot_id=1)
    num_bytes, tick_ns = 0, 0
    for sample in load.samples:
        now_ns = NodeNs(
            int(sample.t_node_ns[-1]) if isinstance(sample, MetadataBlock) else sample.t_node_ns
        )
        blocks = pipeline.push(sample, now_node_ns=now_ns)
        while tick_ns < now_ns:
            tick_ns += TICK_NS
            blocks += pipeline.advance(NodeNs(tick_ns - HOP_NS))
        num_bytes += sum(len(encode_block(block)) for block in blocks)
    return num_bytes


def resizing_s(pictures: Sequence[np.ndarray], *, repeats: int) -> float:
    """CPU time of making one picture of a camera as small as the features take it."""
    frames = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")
        for picture in pictures[:50]
    ]
    greyer = Greyer(width=FRAME_WIDTH, height=FRAME_HEIGHT)

    def resize() -> object:
        return [greyer.grey(frame) for frame in frames]

    return fastest_s(resize, repeats=repeats) / len(frames)


def decoding_s(pictures: Sequence[np.ndarray], codec: str, *, repeats: int) -> float | None:
    """CPU time of decoding one frame of a file, resizing left out; None without the encoder."""
    if codec not in av.codecs_available:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mkv"
        with av.open(str(path), "w") as container:
            stream = cast(av.VideoStream, container.add_stream(codec, rate=FRAMES_HZ))
            stream.width, stream.height = WIDTH, HEIGHT
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.time_base = Fraction(1, FRAMES_HZ)
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")
                container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode(None))

        def decode() -> int:
            return sum(1 for _ in video_frames(path, where="video"))

        return fastest_s(decode, repeats=repeats) / len(pictures)


def board_rows(rows: Sequence[Row]) -> Iterator[Row]:
    """The node on other boards, from published ratios of single cores: not measured there.

    Two ratios, between which the truth should lie: of integer work (7-zip) and of vector work
    (Linpack), which is where wide cores like this machine's are furthest ahead.
    """
    here = next(row for row in rows if row["pair"] == NODE)["core"]
    gflops = next(row["gflops"] for row in rows if row.get("gflops"))
    for board in SEVEN_ZIP:
        low = None
        if cpu_name() in SEVEN_ZIP_HERE:
            low = rounded(here * SEVEN_ZIP_HERE[cpu_name()] / SEVEN_ZIP[board])
        yield {
            "pair": f"{NODE}, on a {board}",
            "method": "extrapolated, not measured",
            "core": low,
            "core_by_vectors": rounded(here * gflops / LINPACK[board]),
        }


def cpu_name() -> str:
    """Vendor, family and model of this machine's processor; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    brand = " ".join(facts.get("model name", "").split()[:2])
    return f"{brand}, family {facts.get('cpu family')}, model {facts.get('model')}"
