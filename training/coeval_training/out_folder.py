"""Where a run or an export goes: made early, so that hours of work have a place to land."""

import os
from pathlib import Path

from coeval.errors import BadConfig


def make_out_folder(folder: Path) -> None:
    """Make the folder where it is not there yet.

    Raises:
        BadConfig: it cannot be made, or not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise BadConfig(f"--out {folder}: cannot be made: {exc.strerror}") from exc
    if not os.access(folder, os.W_OK):
        raise BadConfig(f"--out {folder}: cannot be written; choose another folder")
