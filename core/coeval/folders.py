"""Folders to write to, made early: what is to land there has a place, or it is said at once."""

import os
from pathlib import Path

from coeval.errors import BadConfig


def why_not_made(folder: Path, exc: OSError) -> str:
    """Why a folder could not be made, and what to do."""
    # os.path.exists, unlike Path's, is False below what may not be looked into.
    nearest = next(each for each in (folder, *folder.parents) if os.path.exists(each))
    reason = f"{nearest} is a file" if nearest.is_file() else exc.strerror
    return f"{reason}; choose another folder"


def make_folder(folder: Path, *, name: str) -> None:
    """Make a folder where it is not there yet.

    Args:
        folder: the folder.
        name: the key or option that names it, for messages.

    Raises:
        BadConfig: it cannot be made, or not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise BadConfig(f"{name} {folder}: cannot be made: {why_not_made(folder, exc)}") from exc
    if not os.access(folder, os.W_OK):
        raise BadConfig(f"{name} {folder}: cannot be written; choose another folder")
