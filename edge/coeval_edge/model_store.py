"""Encoders that came over the network, on disk: what is used, and what turned out bad.

Files are named by their hash and checked against it whenever they are read, so that a damaged disk
is no reason to run something else.
"""

import hashlib
import json
import logging
from collections.abc import Collection
from pathlib import Path

from coeval import __version__
from coeval.errors import BadBlock
from coeval.folders import make_folder
from coeval.model_wire import SetNotice, decode_notice, encode_notice

logger = logging.getLogger(__name__)

MOST_REFUSED = 20
"""Sets that are remembered as bad, the last ones."""


class ModelStore:
    """A folder of encoders, and which set of them is used."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, made where it is not there.

        Raises:
            BadConfig: it cannot be made or written.
        """
        self._folder = folder
        make_folder(folder, name="model_folder")
        self._state_file = folder / "current.json"
        self.current: SetNotice | None = None
        """The set that is used; None: the encoders that are installed."""
        self._previous: SetNotice | None = None
        self._refused: dict[str, str] = {}
        self._read_state()

    def _read_state(self) -> None:
        if not self._state_file.exists():
            return
        try:
            value = json.loads(self._state_file.read_text(encoding="utf-8"))
            refused = {str(name): str(why) for name, why in value["refused"].items()}
            current, previous = (self._notice(value[key]) for key in ("current", "previous"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BadBlock) as exc:
            logger.warning("model state unreadable file=%s reason=%s", self._state_file, exc)
            return
        self.current, self._previous, self._refused = current, previous, refused

    def _notice(self, value: object) -> SetNotice | None:
        if value is None:
            return None
        return decode_notice(json.dumps(value).encode(), where=str(self._state_file))

    def use(self, notice: SetNotice | None) -> None:
        """Note which set is used from now on; the one before is kept, files of others are not."""
        self.current, self._previous = notice, self.current
        self._write_state()
        kept = {
            file.sha256
            for each in (self.current, self._previous)
            if each is not None
            for file in each.files.values()
        }
        for path in self._folder.glob("*.onnx"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)

    def go_back(self) -> None:
        """Note that the set before is used again."""
        self.current, self._previous = self._previous, None
        self._write_state()

    def refuse(self, notice: SetNotice, why: str) -> None:
        """Note that a set is bad: this version does not try it again, in a later run neither."""
        self._refused[_key(notice)] = why
        for key in list(self._refused)[:-MOST_REFUSED]:
            del self._refused[key]
        self._write_state()

    def is_refused(self, notice: SetNotice) -> bool:
        """Whether a set turned out bad before."""
        return _key(notice) in self._refused

    def why_refused(self, notice: SetNotice) -> str:
        """Why a set turned out bad."""
        return self._refused[_key(notice)]

    def read(self, sha256: str) -> bytes | None:
        """A file's bytes; None where it is not there, or is not what its name says."""
        try:
            model = self._path(sha256).read_bytes()
        except OSError:
            return None
        return model if hashlib.sha256(model).hexdigest() == sha256 else None

    def write(self, sha256: str, model: bytes) -> None:
        """Keep a file; a disk that refuses it costs the next start, not this run."""
        self._write(self._path(sha256), model)

    def missing(self, hashes: Collection[str]) -> list[str]:
        """Those that are not there."""
        return [sha256 for sha256 in hashes if self.read(sha256) is None]

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.onnx"

    def _write_state(self) -> None:
        value = {
            "current": None if self.current is None else json.loads(encode_notice(self.current)),
            "previous": None
            if self._previous is None
            else json.loads(encode_notice(self._previous)),
            "refused": self._refused,
        }
        self._write(self._state_file, json.dumps(value, indent=1).encode())

    def _write(self, path: Path, data: bytes) -> None:
        partial = path.with_suffix(".part")
        try:
            partial.write_bytes(data)
            partial.rename(path)
        except OSError as exc:
            logger.warning("model not kept file=%s reason=%s", path, exc)
            partial.unlink(missing_ok=True)


def _key(notice: SetNotice) -> str:
    """A set by its files, not by its name, which anyone can give to others; and this version."""
    return f"{__version__}:{hashlib.sha256(encode_notice(notice)).hexdigest()[:32]}"
