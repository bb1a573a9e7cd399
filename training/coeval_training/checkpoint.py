"""A training run's checkpoint: written whole, and refused in one line when it is none."""

from pathlib import Path
from typing import Any

import torch

from coeval.errors import CoevalError

KEYS = {"config", "step", "encoders", "optimiser", "results"}
"""What every checkpoint holds; newer ones also hold `recordings` and `commit`."""


class BadCheckpoint(CoevalError):
    """A file is no checkpoint of this version's training."""


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint; an interruption leaves the one before."""
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    partial.rename(path)


def read_checkpoint(path: Path, *, device: torch.device | None = None) -> dict[str, Any]:
    """Read a checkpoint onto a device, by default the CPU.

    Raises:
        BadCheckpoint: unreadable, or something else.
    """
    try:
        state = torch.load(path, map_location=device or "cpu", weights_only=True)
    except OSError as exc:
        raise BadCheckpoint(f"checkpoint {path}: cannot be read: {exc.strerror}") from exc
    except Exception as exc:  # torch raises several kinds, depending on where the file ends
        raise BadCheckpoint(
            f"checkpoint {path}: not a checkpoint of `coeval train`, or cut short; train again"
        ) from exc
    missing = KEYS - set(state if isinstance(state, dict) else ())
    if missing:
        raise BadCheckpoint(
            f"checkpoint {path}: expected the keys {', '.join(sorted(KEYS))}, "
            f"{', '.join(sorted(missing))} missing; make it with `coeval train`"
        )
    return dict(state)
