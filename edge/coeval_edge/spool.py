"""Blocks that the broker has not acknowledged, on disk: they outlive a lost network and a restart.

Records are appended to segment files; a segment is deleted when the last of its records is
acknowledged. After a restart every record still in a file is handed out again: the aggregator
drops what it had. A record survives the process; a power cut may cost the last segment, which
is flushed to the disk only when it is full.
"""

import errno
import fcntl
import logging
import os
import struct
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from coeval.errors import BadConfig

logger = logging.getLogger(__name__)

DEFAULT_MAX_BYTES = 64 * 2**20
"""About 20 hours of two streams."""
SEGMENT_BYTES = 256 * 2**10
EMPTIED_BYTES = 16 * 2**10
"""An open segment this long is emptied when all of it is acknowledged."""

RECORD = struct.Struct("<IIH")
"""CRC-32 of what follows, bytes of the payload, bytes of the topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A message waiting for its acknowledgement."""

    id: int
    """Counts up in the order of appending, within this run."""
    topic: str
    """Where it goes."""
    payload: bytes
    """What is said."""


@dataclass(slots=True)
class Segment:
    """One file of records."""

    path: Path
    file: BinaryIO
    """Unbuffered: what a full disk refused must not wait in memory, where it would fail every
    later read of what is there, and the closing."""
    size: int = 0
    waiting: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Offset and bytes in the file of every record not acknowledged, by id."""

    def write(self, record: bytes) -> None:
        """Write a record at the end; one that does not fit is overwritten by the next.

        Raises:
            OSError: the disk refuses it, or part of it.
        """
        self.file.seek(self.size)
        if self.file.write(record) < len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Spool:
    """A bounded first-in-first-out store of messages; safe to use from several threads."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Open a spool and take over what an earlier run left.

        Raises:
            BadConfig: the folder cannot be used, or another process uses it.
        """
        self.folder = folder
        self.dropped = 0
        """Records lost: the spool was full, or the disk refused."""
        self._max_bytes, self._segment_bytes = max_bytes, segment_bytes
        self._mutex = threading.Lock()
        self._segments: list[Segment] = []
        self._next_id = 1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = open(folder / "lock", "wb")  # noqa: SIM115  held until close
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock_file.close()
                raise BadConfig(
                    f"spool {folder} is used by another process; "
                    "give every node a folder of its own"
                ) from None
            for path in sorted(folder.glob("*.spool")):
                self._take_over(path)
        except OSError as exc:
            raise BadConfig(f"spool {folder} cannot be used: {exc.strerror or exc}") from exc
        self._next_file = 1 + max((int(s.path.stem) for s in self._segments), default=0)

    def __len__(self) -> int:
        """Number of records not acknowledged."""
        with self._mutex:
            return sum(len(segment.waiting) for segment in self._segments)

    def append(self, topic: str, payload: bytes) -> None:
        """Add a message; the oldest segment is dropped where there is no room."""
        name = topic.encode()
        body = RECORD.pack(0, len(payload), len(name))[4:] + name + payload
        record = zlib.crc32(body).to_bytes(4, "little") + body
        with self._mutex:
            try:
                segment = self._open_segment(len(record))
                segment.write(record)
            except OSError as exc:
                self._lost(1, reason=exc.strerror or str(exc))
                return
            segment.waiting[self._next_id] = (segment.size, len(record))
            segment.size += len(record)
            self._next_id += 1
            while sum(s.size for s in self._segments) > self._max_bytes and len(self._segments) > 1:
                oldest = self._segments[0]
                self._lost(len(oldest.waiting), reason=f"full at {self._max_bytes} bytes")
                self._remove(oldest)

    def pending(self, *, after: int, limit: int) -> list[Record]:
        """The oldest messages not acknowledged.

        Args:
            after: only those with a higher id.
            limit: at most so many.
        """
        records: list[Record] = []
        with self._mutex:
            for segment in self._segments:
                if next(reversed(segment.waiting), 0) <= after:
                    continue
                for record_id, (offset, size) in segment.waiting.items():
                    if record_id > after:
                        segment.file.seek(offset)
                        data = segment.file.read(size)
                        _, _, name_bytes = RECORD.unpack_from(data)
                        end = RECORD.size + name_bytes
                        topic = data[RECORD.size : end].decode()
                        records.append(Record(id=record_id, topic=topic, payload=data[end:]))
                        if len(records) == limit:
                            return records
        return records

    def acknowledge(self, record_id: int) -> None:
        """Forget a message that the broker has."""
        with self._mutex:
            for segment in self._segments:
                if segment.waiting.pop(record_id, None) is None or segment.waiting:
                    continue
                if segment is not self._segments[-1]:
                    self._remove(segment)
                elif segment.size >= EMPTIED_BYTES:
                    segment.file.truncate(0)
                    segment.size = 0
                return

    def close(self) -> None:
        """Close the files; those without a waiting record are deleted."""
        with self._mutex:
            for segment in list(self._segments):
                if segment.waiting:
                    segment.file.close()
                else:
                    self._remove(segment)
            self._segments = []
            self._lock_file.close()

    def _open_segment(self, num_bytes: int) -> Segment:
        """The segment to write to, a new one where the last is full."""
        if self._segments and self._segments[-1].size + num_bytes <= self._segment_bytes:
            return self._segments[-1]
        if self._segments:
            os.fsync(self._segments[-1].file.fileno())
            if not self._segments[-1].waiting:
                self._remove(self._segments[-1])
        path = self.folder / f"{self._next_file:012d}.spool"
        segment = Segment(path, open(path, "w+b", buffering=0))  # noqa: SIM115  held until removed
        self._next_file += 1
        self._segments.append(segment)
        return segment

    def _remove(self, segment: Segment) -> None:
        segment.file.close()
        segment.path.unlink(missing_ok=True)
        self._segments.remove(segment)

    def _lost(self, num_records: int, *, reason: str) -> None:
        if num_records:
            self.dropped += num_records
            logger.warning(
                "spool dropped records=%d total=%d folder=%s reason=%s",
                num_records,
                self.dropped,
                self.folder,
                reason,
            )

    def _take_over(self, path: Path) -> None:
        """Read what an earlier run left; a damaged end is cut off and said."""
        if not path.stem.isdecimal():
            return
        file = open(path, "r+b", buffering=0)  # noqa: SIM115  held until removed
        segment = Segment(path, file)
        data = file.read()
        offset = 0
        while offset + RECORD.size <= len(data):
            crc, payload_bytes, name_bytes = RECORD.unpack_from(data, offset)
            size = RECORD.size + payload_bytes + name_bytes
            if offset + size > len(data) or zlib.crc32(data[offset + 4 : offset + size]) != crc:
                break
            segment.waiting[self._next_id] = (offset, size)
            self._next_id += 1
            offset += size
        if offset < len(data):
            logger.warning(
                "spool cut off a damaged end file=%s bytes=%d kept=%d",
                path,
                len(data) - offset,
                len(segment.waiting),
            )
            file.truncate(offset)
        segment.size = offset
        self._segments.append(segment)
        if not segment.waiting:
            self._remove(segment)
