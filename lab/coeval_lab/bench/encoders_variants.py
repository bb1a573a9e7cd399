"""Encoders to compare the shipped ones with: of one loss only, or that never saw some recording.

They are trained for a short while, all alike, and kept in a folder, so that a later run finds them.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from coeval.errors import BadConfig
from coeval.samples import MODALITIES
from coeval_lab.bench.encoders_plan import VARIANTS
from coeval_training.material import TRAINED_ON

SHORT: dict[str, Any] = {"steps": 600, "num_scenes": 480, "num_validation": 8}
"""What a short training differs in from a whole one."""
LOSSES: dict[str, dict[str, Any]] = {
    "autoencoder-only": {"correspondence_weight": 0.0, "forgetting_weight": 1.0},
    "no-autoencoder": {"forgetting_weight": 0.0},
    "both": {},
}
WITHOUT = "without-"
"""A folder's name begins so where a recording was left out, whose name follows."""
NEVER_SAW = "both losses, trained as short without this recording"

Say = Callable[[str], None]


def is_made(folder: Path) -> bool:
    """Whether a folder holds an encoder of every modality."""
    return all((folder / f"{modality}.onnx").exists() for modality in MODALITIES)


def left_out(recordings: Path, num_folds: int) -> list[str]:
    """The recordings that are trained on and there, as many as are to be left out once each."""
    there = [name for name in TRAINED_ON if (recordings / name / "recording.json").exists()]
    return there[:num_folds]


def folds_in(folder: Path | None) -> dict[str, Path]:
    """Folders of encoders that never saw a recording, by its name."""
    if folder is None:
        return {}
    found = sorted(folder.glob(f"{WITHOUT}*"))
    return {path.name.removeprefix(WITHOUT): path for path in found if is_made(path)}


def make_missing(folder: Path, recordings: Path, *, num_folds: int, say: Say) -> None:
    """Train what the folder lacks.

    Args:
        folder: keeps the encoders, a folder each, and what training needs.
        recordings: folder of real recordings.
        num_folds: recordings to leave out, one at a time.
        say: called with what is begun.

    Raises:
        BadConfig: something is missing and cannot be trained here.
    """
    wanted: list[tuple[str, dict[str, Any], str | None]] = [
        (name, LOSSES[name], None) for name in VARIANTS
    ]
    wanted += [(f"{WITHOUT}{name}", {}, name) for name in left_out(recordings, num_folds)]
    missing = [each for each in wanted if not is_made(folder / each[0])]
    if missing and importlib.util.find_spec("torch") is None:
        raise BadConfig(
            f"--baselines {folder}: {missing[0][0]} is missing, and training it needs torch: "
            "pip install 'coeval[train]'"
        )
    for name, losses, without in missing:
        say(f"training {name}, {SHORT['steps']} steps")
        seen = recordings
        if without is not None:
            seen = folder / "training" / name / "recordings"
            link_all_but(recordings, without, seen)
        train_short(folder, name, losses, seen if seen.is_dir() else None)


def link_all_but(recordings: Path, without: str, into: Path) -> None:
    """A folder of links to all recordings but one."""
    into.mkdir(parents=True, exist_ok=True)
    for path in recordings.iterdir():
        if path.name != without and not (into / path.name).exists():
            (into / path.name).symlink_to(path.resolve())


def train_short(
    folder: Path, name: str, losses: dict[str, Any], recordings: Path | None
) -> Sequence[Path]:
    """Train for a short while and export into the folder; returns the files."""
    from coeval_training.export import export_all
    from coeval_training.train import TrainConfig, train

    run = folder / "training" / name
    run.mkdir(parents=True, exist_ok=True)
    scenes = folder / "training" / "scenes"  # the same for all
    scenes.mkdir(exist_ok=True)
    if not (run / "scenes").exists():
        (run / "scenes").symlink_to(scenes.resolve(), target_is_directory=True)
    checkpoint = train(
        TrainConfig(**SHORT, **losses),
        run,
        recordings_folder=recordings,
        workers=2,
        say=lambda _: None,
    )
    return list(export_all(checkpoint, folder / name).values())
