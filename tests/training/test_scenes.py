import json
import tracemalloc
from itertools import islice, pairwise
from typing import cast

import av
import numpy as np
import pytest

from coeval.samples import AudioBlock, Frame, MetadataBlock, TextLine
from coeval.time import NS_PER_S
from coeval_training.scenes import KINDS, STREAMS, Scene, generate_scene, write_recording
from coeval_training.scenes.latent import Array, Latent, on_grid
from coeval_training.scenes.picture import Painter

HOP_S = 0.05
LAGS = range(-60, 61)


def as_bytes(scene: Scene, stream: str) -> bytes:
    """Everything a stream says, as one string of bytes."""
    parts = []
    for sample in scene.render(stream):
        match sample:
            case MetadataBlock():
                parts += [sample.t_node_ns.tobytes(), sample.values.tobytes()]
            case Frame():
                parts += [str(sample.t_node_ns).encode(), sample.grey.tobytes()]
            case AudioBlock():
                parts += [str(sample.t_node_ns).encode(), sample.pcm.tobytes()]
            case TextLine():
                parts.append(repr(sample).encode())
    return b"".join(parts)


def times_ns(scene: Scene, stream: str) -> list[int]:
    times: list[int] = []
    for sample in scene.render(stream):
        if isinstance(sample, MetadataBlock):
            times += sample.t_node_ns.tolist()
        else:
            times.append(int(sample.t_node_ns))
    return times


def per_hop(t_s: Array, values: Array, duration_s: float) -> Array:
    """Mean of the values in each hop, what is missing taken from the neighbours."""
    num = int(duration_s / HOP_S)
    hop = np.minimum((t_s / HOP_S).astype(int), num - 1)
    total, count = np.bincount(hop, values, num), np.bincount(hop, minlength=num)
    there = np.flatnonzero(count)
    return np.interp(np.arange(num), there, total[there] / count[there])


def activity(scene: Scene, stream: str) -> Array:
    """How much changes in a stream, hop by hop, with its slow part taken out."""
    samples = list(scene.render(stream))
    if stream in ("imu", "machine"):
        blocks = cast(list[MetadataBlock], samples)
        t_s = np.concatenate([block.t_node_ns for block in blocks]) / NS_PER_S
        values = np.concatenate([block.values for block in blocks])
        change = np.abs(np.diff(values, axis=0))
        if stream == "imu":
            level = np.log(change[:, 3:].sum(axis=1) + 0.05)
        else:
            level = np.sqrt(change / (change.std(axis=0) + 1e-9)).mean(axis=1)
        level = per_hop((t_s[1:] + t_s[:-1]) / 2, level, scene.duration_s)
    elif stream == "audio":
        pcm = np.concatenate([block.pcm for block in cast(list[AudioBlock], samples)])
        spectra = np.abs(np.fft.rfft(pcm.reshape(-1, 800) * np.hanning(800), axis=1))
        spectra = np.log(spectra + np.median(spectra, axis=0) + 1e-4)
        level = np.maximum(spectra - np.median(spectra, axis=0), 0).mean(axis=1)
    elif stream == "video":
        frames = cast(list[Frame], samples)
        t_s = np.array([frame.t_node_ns for frame in frames]) / NS_PER_S
        change = np.abs(np.diff(np.stack([f.grey for f in frames]).astype(np.float32), axis=0))
        change = np.sqrt(np.maximum(change - 2 * np.median(change, axis=0), 0).mean(axis=(1, 2)))
        level = per_hop((t_s[1:] + t_s[:-1]) / 2, change, scene.duration_s)
    else:
        lines = cast(list[TextLine], samples)
        t_s = np.array([line.t_node_ns for line in lines]) / NS_PER_S
        level = np.bincount((t_s / HOP_S).astype(int), minlength=int(scene.duration_s / HOP_S))
    slow = np.convolve(np.pad(level, 20, mode="edge"), np.ones(41) / 41, "valid")
    return cast(Array, level - slow)


def best_lag_hops(a: Array, b: Array) -> int:
    """Shift of b against a at which they agree best."""
    middle = slice(60, -60)
    scores = [float(np.dot(a[middle], np.roll(b, lag)[middle])) for lag in LAGS]
    return list(LAGS)[int(np.argmax(scores))]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes(kind: str) -> None:
    first, second = (generate_scene(7, kind=kind, duration_s=12.0) for _ in range(2))
    for stream in STREAMS:
        assert as_bytes(first, stream) == as_bytes(second, stream)


def test_another_seed_gives_another_scene() -> None:
    first, second = (generate_scene(seed, kind="machine", duration_s=12.0) for seed in (1, 2))
    for stream in STREAMS:
        assert as_bytes(first, stream) != as_bytes(second, stream)


def test_a_stream_does_not_depend_on_which_others_were_rendered() -> None:
    scene = generate_scene(3, kind="people", duration_s=12.0)
    alone = as_bytes(scene, "audio")
    for stream in STREAMS:
        list(scene.render(stream))
    assert as_bytes(scene, "audio") == alone


def test_every_kind_comes_up_by_chance() -> None:
    assert {generate_scene(seed, duration_s=5.0).kind for seed in range(40)} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_times_rise_and_stay_inside_the_scene(kind: str, seed: int) -> None:
    scene = generate_scene(seed, kind=kind, duration_s=20.0)
    for stream in STREAMS:
        times = times_ns(scene, stream)
        assert times, stream
        assert all(a < b for a, b in pairwise(times)), stream
        assert times[0] >= 0
        assert times[-1] < 20 * NS_PER_S


@pytest.mark.parametrize(
    ("stream", "slowest_hz", "fastest_hz"),
    [("video", 8.0, 31.0), ("imu", 90.0, 201.0), ("machine", 4.0, 51.0), ("stills", 0.3, 1.2)],
)
def test_rates_are_those_of_real_sensors(stream: str, slowest_hz: float, fastest_hz: float) -> None:
    for seed in range(8):
        times = times_ns(generate_scene(seed, kind="desktop", duration_s=30.0), stream)
        assert slowest_hz < len(times) / 30.0 < fastest_hz


def test_samples_have_the_agreed_shapes() -> None:
    scene = generate_scene(4, kind="rig", duration_s=10.25)
    frame = cast(Frame, next(scene.render("video")))
    assert (frame.grey.shape, frame.grey.dtype) == ((48, 64), np.uint8)
    blocks = cast(list[AudioBlock], list(scene.render("audio")))
    assert {block.rate_hz for block in blocks} == {16_000.0}
    assert sum(len(block.pcm) for block in blocks) == 164_000
    assert all(block.pcm.dtype == np.float32 and np.abs(block.pcm).max() <= 1 for block in blocks)
    imu = cast(MetadataBlock, next(scene.render("imu")))
    assert imu.values.shape[1] == 6
    assert np.isfinite(imu.values).all()


def test_a_resting_imu_feels_gravity() -> None:
    scene = generate_scene(11, kind="desktop", duration_s=20.0)
    values = np.concatenate([b.values for b in cast(list[MetadataBlock], [*scene.render("imu")])])
    assert np.linalg.norm(np.median(values[:, 3:], axis=0)) == pytest.approx(9.81, abs=0.8)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("wearable", "imu", "audio"),
        ("wearable", "imu", "video"),
        ("machine", "imu", "audio"),
        ("machine", "imu", "text"),
        ("people", "imu", "text"),
        ("desktop", "video", "text"),
        ("desktop", "audio", "text"),
        ("wearable", "imu", "machine"),
    ],
)
def test_what_happens_shows_at_the_same_time_in_two_streams(
    kind: str, one: str, other: str
) -> None:
    scenes = [generate_scene(seed, kind=kind) for seed in range(50, 55)]
    lags = [best_lag_hops(activity(scene, one), activity(scene, other)) for scene in scenes]
    assert sum(abs(lag) <= 2 for lag in lags) >= 3, lags


def turning(name: str, rate: float) -> Latent:
    """A rig scene in which the camera does nothing but turn about one axis, at 0.2 rad/s."""
    latent = generate_scene(9, kind="rig", duration_s=6.0).latent
    still = np.zeros_like(latent.signals["cam_yaw"])
    for signal in ("cam_yaw", "cam_pitch", "cam_roll", "cam_zoom"):
        latent.signals[signal] = still
    latent.signals[name] = (rate * np.arange(len(still)) / 200).astype(np.float32)
    latent.signals["light"] = still + 1
    return Latent(
        seed=9,
        kind="rig",
        flavour="handheld",
        duration_s=6.0,
        signals=latent.signals,
        events=(),
    )


def shift_px(before: Array, after: Array) -> tuple[int, int]:
    """By how much the picture moved right and down, by brute force over ±12 px."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    inner = a[12:-12, 12:-12]

    def error(move: tuple[int, int]) -> float:
        x, y = move
        return float(np.mean((b[12 + y : 36 + y, 12 + x : 52 + x] - inner) ** 2))

    moves = [(x, y) for x in range(-12, 13) for y in range(-12, 13)]
    return min(moves, key=error)


@pytest.mark.parametrize("rate", [0.2, -0.2])
def test_the_picture_moves_by_focal_length_times_rate_against_the_turn(rate: float) -> None:
    painter = Painter(turning("cam_yaw", rate), "video")
    before, after = painter.paint(np.array([2.0, 2.5]))
    x, y = shift_px(before, after)
    assert x == pytest.approx(-painter.focal_px * rate * 0.5, abs=1.0)
    assert abs(y) <= 1


@pytest.mark.parametrize("rate", [0.2, -0.2])
def test_the_picture_moves_down_when_the_camera_looks_up(rate: float) -> None:
    painter = Painter(turning("cam_pitch", rate), "video")
    before, after = painter.paint(np.array([2.0, 2.5]))
    x, y = shift_px(before, after)
    assert y == pytest.approx(painter.focal_px * rate * 0.5, abs=1.0)
    assert abs(x) <= 1


def test_body_rates_of_a_rig_are_those_of_its_camera() -> None:
    latent = generate_scene(21, kind="rig", duration_s=30.0).latent
    t_s = np.arange(1.0, 29.0, 0.01)
    yaw, pitch, roll = (on_grid(latent.signals[f"cam_{n}"], t_s) for n in ("yaw", "pitch", "roll"))
    rates = [np.gradient(angle, t_s) for angle in (yaw, pitch, roll)]
    about_x = rates[1] * np.cos(roll) + rates[0] * np.sin(roll)
    about_y = rates[0] * np.cos(roll) - rates[1] * np.sin(roll)
    for name, expected in (("gx", about_x), ("gy", about_y), ("gz", rates[2])):
        assert np.corrcoef(on_grid(latent.signals[name], t_s), expected)[0, 1] > 0.95


def test_ten_minutes_are_rendered_as_they_are_read() -> None:
    scene = generate_scene(5, kind="machine", duration_s=600.0)
    tracemalloc.start()
    num_frames = sum(1 for _ in islice(scene.render("video"), 2000))
    num_blocks = sum(1 for _ in islice(scene.render("audio"), 200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (num_frames, num_blocks) == (2000, 200)
    assert peak < 60e6


def test_a_scene_of_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'circus'"):
        generate_scene(1, kind="circus")


@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_a_written_scene_can_be_read_back_by_others(
    tmp_path_factory: pytest.TempPathFactory, codec: str
) -> None:
    folder = tmp_path_factory.mktemp("scene")
    scene = generate_scene(2, kind="people", duration_s=8.0)
    write_recording(scene, folder, codec=codec)
    manifest = json.loads((folder / "recording.json").read_text())
    assert [stream["id"] for stream in manifest["streams"]] == list(STREAMS)
    assert all(node["offset_s"] == 0.0 for node in manifest["truth"]["nodes"].values())
    frames = cast(list[Frame], list(scene.render("video")))
    with av.open(str(folder / "video.mp4")) as container:
        pictures = [picture.to_ndarray(format="gray") for picture in container.decode(video=0)]
    stamps = (folder / "video.timestamps.csv").read_text().split()
    assert len(pictures) == len(frames) == len(stamps) - 1
    errors = [
        float(np.mean(np.abs(p.astype(float) - f.grey)))
        for p, f in zip(pictures, frames, strict=True)
    ]
    assert np.mean(errors) < 6.0
    with av.open(str(folder / "audio.flac")) as container:
        pcm = np.concatenate([f.to_ndarray().reshape(-1) for f in container.decode(audio=0)])
    expected = np.concatenate([b.pcm for b in cast(list[AudioBlock], [*scene.render("audio")])])
    assert np.abs(pcm / 32767.0 - expected).max() < 1e-4
    assert len(list((folder / "stills").glob("*.png"))) == len(list(scene.render("stills")))
