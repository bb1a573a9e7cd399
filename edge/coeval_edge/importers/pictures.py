"""Pictures that lie in a folder as one stream of stills, each at the time that it says itself.

A camera writes into the picture (EXIF) when it was taken, or a program into the file's name. In:
the files. Out: a stream, on a node named after the folder. What no picture says is not guessed: the
time of a file is when it was copied last.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from coeval.errors import BadRecording
from coeval.time import NS_PER_S
from coeval_edge.importers.time_column import epoch_to_ns
from coeval_edge.media import open_media
from coeval_edge.recording_writer import RecordingWriter
from coeval_edge.stamps import to_ns

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
DATE_IN_NAME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[-_T .]{0,3}(?:at )?"
    r"(\d\d)[-_.:h]?(\d\d)[-_.:m]?(\d\d)(?:[-_.,s]?(\d{1,9}))?(?!\d)"
)
"""20251124_100000, 2025-11-24T10-00-00.250, 2018080501004480: fractions of a second behind."""
EPOCH_IN_NAME = re.compile(
    r"(?<![\d.])(?:(1\d{9}\.\d{1,9})|(1\d{9}|1\d{12}|1\d{15}|1\d{18}))(?![\d])"
)
ZONE = "0x9011"
"""EXIF's OffsetTimeOriginal, as FFmpeg 8 calls it."""
NO_STAMP = (
    "says nowhere when it was taken: neither its EXIF nor its name has a time such as "
    "20251124_100000; name it so, or write a table of the columns t (s) and file"
)


def import_pictures(files: Sequence[Path], writer: RecordingWriter, *, folder: Path) -> None:
    """Add a folder's pictures as one stream; those that do not say when they were taken are noted.

    Raises:
        BadRecording: none does.
    """
    stamped: list[tuple[int, Path]] = []
    silent: list[Path] = []
    for file in files:
        try:
            t_ns = stamp_of(file)
        except BadRecording as exc:
            why = str(exc).removeprefix(f"{file.name}: ")
            writer.notes.append(f"{file.name}: left out: {why}")
            continue
        if t_ns is None:
            silent.append(file)
        else:
            stamped.append((t_ns, file))
    if not stamped and not silent:
        raise BadRecording(f"{folder}: none of its {len(files)} pictures can be decoded")
    if not stamped:
        raise BadRecording(f"{silent[0]}: {NO_STAMP}")
    if silent:
        writer.notes.append(
            f"{folder.name}: {len(silent)} of {len(files)} pictures left out, as {silent[0].name}: "
            "they do not say when they were taken"
        )

    def stills() -> Iterator[tuple[int, bytes, str]]:
        for t_ns, file in sorted(stamped):
            yield t_ns, file.read_bytes(), file.suffix.lower()

    writer.add_stills(writer.add_node(folder.name), folder.name, stills())


def stamp_of(file: Path) -> int | None:
    """When a picture was taken, ns since 1970; None where it does not say.

    A time without a zone is taken for UTC. The name is believed sooner where it has parts of a
    second and EXIF has none.

    Raises:
        BadRecording: it cannot be decoded.
    """
    told, named = stamp_in_exif(file), stamp_in_name(file.stem)
    if told is not None and named is not None and not told % NS_PER_S:
        return named if abs(named - told) < NS_PER_S else told
    return named if told is None else told


def stamp_in_name(name: str) -> int | None:
    """The time in a file's name."""
    found = EPOCH_IN_NAME.search(name)
    if found is not None:
        return to_ns(found[1]) if found[1] else epoch_to_ns(found[2])
    found = DATE_IN_NAME.search(name)
    if found is None:
        return None
    try:
        date = datetime.strptime(" ".join(found.groups()[:6]), "%Y %m %d %H %M %S")
    except ValueError:
        return None
    whole_ns = int(date.replace(tzinfo=UTC).timestamp()) * NS_PER_S
    return whole_ns + int((found[7] or "0").ljust(9, "0"))


def stamp_in_exif(file: Path) -> int | None:
    """The time that the camera wrote into a picture.

    Raises:
        BadRecording: it cannot be decoded.
    """
    with open_media(file, where=file.name) as container:
        picture = next(iter(container.decode(video=0)), None)
    if picture is None:
        raise BadRecording(f"{file.name}: holds no picture")
    listed = picture.metadata
    told = {key.rsplit("/", 1)[-1]: value for key, value in listed.items()}  # "ExifIFD/…"
    taken = told.get("DateTimeOriginal") or ""
    zone = (told.get("OffsetTimeOriginal") or told.get(ZONE) or "+00:00").strip()
    try:
        date = datetime.strptime(f"{taken.strip()} {zone}", "%Y:%m:%d %H:%M:%S %z")
    except ValueError:
        return None
    part = (told.get("SubSecTimeOriginal") or "").strip()
    return int(date.timestamp()) * NS_PER_S + (
        int(part.ljust(9, "0")[:9]) if part.isdecimal() else 0
    )
