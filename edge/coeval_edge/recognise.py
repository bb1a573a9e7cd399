"""What a file, or the first bytes of anything, is: by what is in it, never by its name.

Text goes to `coeval.recognition`; what is none is tried as a picture, film or sound, then as plain
samples of sound. Files that hold several streams give one answer a stream.
"""

import io
import re
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.recognition import Recognition, recognise_lines
from coeval_edge.unreadable import why_unreadable

READ_BYTES = 1 << 20
"""Of a file's text so much is looked at."""
PRINTED_SHARE = 0.97
"""Text has hardly any other bytes; a letter outside ASCII in another code is one."""
MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"ULog\x01\x12\x35", "PX4 ULog: coeval recording import"),
    (b"XDF:", "XDF (Lab Streaming Layer): coeval recording import"),
    (b"\x89MCAP0\r\n", "MCAP: coeval recording import"),
    (b"PAR1", "Parquet"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"SQLite format 3\x00", "SQLite"),
    (b"#ROSBAG", "ROS 1 bag: convert it to MCAP"),
    (b"PK\x03\x04", "zip archive: unpack it"),
    (b"\x1f\x8b", "gzip: unpack it"),
    (b"\x28\xb5\x2f\xfd", "zstandard: unpack it"),
    (b"\xb5\x62", "u-blox binary (UBX): have the receiver send NMEA"),
    (b"COEV", "Coeval's own blocks"),
)
"""Formats that hold streams of any kind, or of a kind that is not read here."""
HEADS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"RIFF", "WAV or AVI"),
    (4, b"ftyp", "MP4 or MOV"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"OggS", "Ogg"),
    (0, b"fLaC", "FLAC"),
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
)
"""Where films, sounds and pictures say what they are, whether or not they can be decoded."""
LEAST_SAMPLES = 100
LEAST_SOUND_BYTES = 2000
ENTROPY_GAP = 0.8
"""Bits by which the high bytes of samples are poorer than the low ones: random bytes have 0."""
SMOOTH = 0.8
"""Differences of neighbouring samples against the samples themselves (standard deviations): noise,
and bytes that are no samples, have 1.4; sound at its right width and order is smoother."""


def recognise_file(path: Path) -> list[Recognition]:
    """What a file is, an answer a stream.

    Raises:
        BadRecording: it cannot be read.
    """
    if path.is_dir():
        return [recognise_folder(path)]
    try:
        with path.open("rb") as file:
            data = file.read(READ_BYTES)
            is_whole = not file.read(1)
    except OSError as exc:
        raise BadRecording(f"{path}: cannot be read: {why_unreadable(path, exc)}") from exc
    return recognise_bytes(data, path=path, is_whole=is_whole)


def recognise_folder(path: Path) -> Recognition:
    """What the files of a folder are, where all are alike: pictures that lie there in order.

    Raises:
        BadRecording: there is no file in it.
    """
    files = sorted(item for item in path.iterdir() if item.is_file())
    if not files:
        raise BadRecording(f"{path}: no file in it")
    seen = [recognise_file(file)[0] for file in files[:: max(len(files) // 8, 1)]]
    if {one.modality for one in seen} == {"image"}:
        return Recognition(
            modality="image",
            confidence=0.95,
            format="folder of pictures",
            why=f"{len(files)} files",
        )
    return Recognition(
        modality=None,
        confidence=0.0,
        format="folder",
        why="its files are not all pictures; name them one by one",
    )


def recognise_bytes(
    data: bytes, *, path: Path | None = None, is_whole: bool = True
) -> list[Recognition]:
    """What bytes are, an answer a stream.

    Args:
        data: the bytes, or the first of them.
        path: the file they begin, which a decoder then reads further.
        is_whole: whether there are no more; else the last line is left out as cut short.
    """
    if not data:
        return [_unsure("nothing", "there is no byte")]
    text = as_text(data)
    if text is not None:
        lines = text.splitlines()
        if not is_whole and len(lines) > 1:
            lines = lines[:-1]
        return [recognise_lines(lines)]
    for magic, name in MAGICS:
        if data.startswith(magic):
            return [_unsure(name, "holds streams of its own; this only names the format")]
    found = recognise_media(data, path=path)
    if found:
        return found
    for at, head, name in HEADS:
        if data[at : at + len(head)] == head:
            why = "begins as one, but no picture or sound can be got out of it: cut short or empty?"
            return [_unsure(name, why)]
    return [recognise_samples(data)]


def as_text(data: bytes) -> str | None:
    """Bytes as text; None where they are none."""
    for mark, code in (
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
        (b"\xef\xbb\xbf", "utf-8"),
    ):
        if data.startswith(mark):
            return data.decode(code, "replace")
    if b"\0" in data:
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        # Cut in the middle of a letter, or a text in a code of one byte a letter.
        cut = exc.start >= len(data) - 3
        text = data.decode("utf-8" if cut else "latin-1", "ignore")
    strange = len(re.findall(r"[\x01-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd]", text))
    plain = sum(0x20 <= byte < 0x7F or byte in b"\t\r\n" for byte in data[:20_000])
    is_utf_8 = text.encode("utf-8", "ignore") == data[: len(text.encode("utf-8", "ignore"))]
    if strange > (1 - PRINTED_SHARE) * len(text):
        return None
    if not is_utf_8 and plain < 0.7 * len(data[:20_000]):
        return None
    return text


def recognise_media(data: bytes, *, path: Path | None) -> list[Recognition]:
    """Pictures, film and sound, by a decoder that must get something out of them."""
    found: list[Recognition] = []
    try:
        with _opened(data, path) as container:
            for video in container.streams.video[:1]:
                num = sum(1 for _ in islice(container.decode(video), 2))
                if num:
                    codec = video.codec_context.name
                    found.append(_pictures(num, f"{container.format.name}, {codec}"))
        with _opened(data, path) as container:
            found += [_sound(container, audio) for audio in container.streams.audio[:1]]
    except (FFmpegError, OSError, ValueError):
        pass  # what was found before it broke off counts
    return [one for one in found if one.modality is not None]


def _opened(data: bytes, path: Path | None) -> InputContainer:
    if path is None:
        return av.open(io.BytesIO(data), "r")
    return av.open(str(path), "r", options={"protocol_whitelist": "file"})


def _pictures(num: int, format: str) -> Recognition:
    if num > 1:
        return Recognition(
            modality="video", confidence=0.99, format=format, why="pictures in a row"
        )
    return Recognition(modality="image", confidence=0.99, format=format, why="one picture")


def _sound(container: InputContainer, audio: AudioStream) -> Recognition:
    """Sound that decodes; a format guessed without a header must give some."""
    num = 0
    for frame in container.decode(audio):
        num += frame.samples
        if num >= LEAST_SAMPLES:
            break
    codec = audio.codec_context
    format = f"{container.format.name}, {codec.name}"
    if num < LEAST_SAMPLES:
        return _unsure(format, "hardly any sound in it")
    why = f"sound, {codec.sample_rate} samples a second"
    return Recognition(modality="audio", confidence=0.99, format=format, why=why)


def recognise_samples(data: bytes) -> Recognition:
    """Bytes without any header: samples of sound, where one width and order makes sense of them.

    Two things tell: neighbours are alike, or the high bytes are few numbers around 0 while the low
    ones are anything. Records of several fields do that too; their fields differ in their means.
    """
    if len(data) < LEAST_SOUND_BYTES:
        return _unsure("bytes", "no text, no known format")
    candidates: list[tuple[float, str, NDArray[np.float64]]] = []
    for kind, name in (("<i2", "16 bit, little-endian"), (">i2", "16 bit, big-endian")):
        samples = np.frombuffer(data[: len(data) // 2 * 2], kind)
        high = (samples >> 8).astype(np.int64) + 128
        low = (samples & 255).astype(np.int64)
        gap = entropy(low) - entropy(high)
        candidates.append((gap, name, samples.astype(np.float64)))
    candidates.sort(key=lambda candidate: -candidate[0])
    floats = np.frombuffer(data[: len(data) // 4 * 4], "<f4")
    usable = np.isfinite(floats) & (np.abs(floats) <= 4) & ((np.abs(floats) > 1e-9) | (floats == 0))
    if usable.mean() > 0.999 and np.abs(floats[usable]).max(initial=0.0) > 1e-4:
        samples = np.where(usable, floats, 0.0).astype(np.float64)
        candidates.insert(0, (9.0, "32 bit floating point", samples))
    gap, name, samples = candidates[0]
    other = candidates[-1][2]
    is_smooth = roughness(samples) < SMOOTH and roughness(samples) < 0.75 * roughness(other)
    is_around_0 = abs(float(samples.mean())) < 0.5 * float(samples.std())
    if (is_smooth or gap > ENTROPY_GAP) and is_around_0 and not is_of_records(samples):
        return Recognition(
            modality="audio",
            confidence=0.8,
            format=f"samples without a header, {name}",
            why="as such they make sense, in another way they do not; the rate is not known",
        )
    return _unsure("bytes", "no text, no known format, no samples of sound")


def entropy(values: NDArray[np.int64]) -> float:
    """Bits that it takes to say which of 256 values comes."""
    share = np.bincount(values, minlength=256) / len(values)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def is_of_records(samples: NDArray[np.float64]) -> bool:
    """Whether every so many numbers have a mean of their own, as the fields of records do."""
    total = float(samples.var())
    if total <= 0:
        return True
    for width in range(2, 17):
        rows = samples[: len(samples) // width * width].reshape(-1, width)
        between = float(rows.mean(axis=0).var())
        if between > max(0.05, 20.0 / len(rows)) * total:
            return True
    return False


def roughness(samples: NDArray[np.float64]) -> float:
    """Differences of neighbours against the samples (standard deviations), one channel or two."""
    spread = float(samples.std())
    if not np.isfinite(spread) or spread <= 0:
        return 9.0
    return min(float((samples[step:] - samples[:-step]).std()) / spread for step in (1, 2))


def _unsure(format: str, why: str) -> Recognition:
    return Recognition(modality=None, confidence=0.0, format=format, why=why)
