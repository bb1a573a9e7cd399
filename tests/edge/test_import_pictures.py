"""Pictures that lie in a folder become stills at the times that they say themselves."""

from pathlib import Path

import pytest

from coeval.errors import BadRecording
from coeval_edge.importers import import_recording
from coeval_edge.importers.pictures import stamp_in_exif, stamp_in_name
from coeval_edge.recording_samples import read_samples

TEN_NS = 1_763_978_400_000_000_000
"""2025-11-24 10:00:00 UTC."""


@pytest.mark.parametrize(
    ("name", "t_ns"),
    [
        ("IMG_20251124_100000", TEN_NS),
        ("20251124100000250", TEN_NS + 250_000_000),
        ("cam 2025-11-24T10-00-00.5", TEN_NS + 500_000_000),
        ("Screenshot 2025-11-24 at 10.00.00", TEN_NS),
        ("1763978400", TEN_NS),
        ("frame-1763978400123", TEN_NS + 123_000_000),
        ("1763978400.000001", TEN_NS + 1000),
        ("IMG_0042", None),
        ("20251399_100000", None),
        ("12345678901234567890", None),
    ],
)
def test_a_name_tells_when(name: str, t_ns: int | None) -> None:
    assert stamp_in_name(name) == t_ns


def with_exif(path: Path, tags: dict[int, str]) -> None:
    """A picture whose camera wrote these EXIF tags."""
    image = pytest.importorskip("PIL.Image").new("RGB", (64, 48))
    exif = image.getexif()
    exif.get_ifd(0x8769).update(tags)
    image.save(path, exif=exif)


@pytest.mark.parametrize(
    ("tags", "t_ns"),
    [
        ({0x9003: "2025:11:24 10:00:00"}, TEN_NS),
        ({0x9003: "2025:11:24 10:00:00", 0x9291: "25"}, TEN_NS + 250_000_000),
        ({0x9003: "2025:11:24 11:00:00", 0x9011: "+01:00"}, TEN_NS),
        ({0x9003: "0000:00:00 00:00:00"}, None),
        ({}, None),
    ],
)
def test_a_camera_tells_when(tmp_path: Path, tags: dict[int, str], t_ns: int | None) -> None:
    with_exif(tmp_path / "a.jpg", tags)
    assert stamp_in_exif(tmp_path / "a.jpg") == t_ns


def test_a_folder_of_pictures_is_a_stream_of_stills(maker, tmp_path: Path) -> None:
    for second in (5, 3, 4):
        maker.picture(f"top/20251124_10000{second}.png", 40 * second)
    maker.picture("top/first.png", 10)
    (maker.root / "top" / "20251124_100009.jpg").write_bytes(b"no picture")
    (maker.root / "top" / "imu.csv").write_text("t,x\n1,2\n2,3\n")
    recording, notes = import_recording([maker.root / "top"], tmp_path / "out")
    assert {s.node: s.modality for s in recording.manifest.streams} == {
        "imu": "metadata",
        "top": "image",
    }
    stream = next(s for s in recording.manifest.streams if s.modality == "image")
    times = [int(sample.t_node_ns) for sample in read_samples(recording, stream)]
    assert times == [TEN_NS + second * 10**9 for second in (3, 4, 5)]
    assert any("1 of 5 pictures left out, as first.png" in note for note in notes)
    assert any(note.startswith("20251124_100009.jpg: left out: ") for note in notes)


def test_pictures_that_do_not_say_when_are_refused_with_what_to_do(maker, tmp_path: Path) -> None:
    maker.picture("top/a.png", 10)
    with pytest.raises(BadRecording, match=r"a\.png: says nowhere when it was taken"):
        import_recording([maker.root / "top"], tmp_path / "out")
    with pytest.raises(BadRecording, match="is one picture; name the folder"):
        import_recording([maker.root / "top" / "a.png"], tmp_path / "out")
