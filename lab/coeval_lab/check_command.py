"""`coeval check FILE`: is this configuration, recording or encoder usable? Exit 0 or 2."""

from pathlib import Path
from typing import Annotated

import typer

from coeval.config_table import parse_toml
from coeval.errors import BadConfig, CoevalError
from coeval.samples import MODALITIES
from coeval_aggregator.config import load_aggregator_config
from coeval_edge.config import load_node_config
from coeval_edge.describe import summarise
from coeval_edge.encoder import Encoder
from coeval_edge.evidence_tables import read_time_samples
from coeval_edge.recording import MANIFEST_FILE, open_recording
from coeval_edge.unreadable import why_unreadable


def check_toml(path: Path) -> str:
    """Check a node's or an aggregator's file; says what it is.

    Raises:
        BadConfig: unreadable, neither of the two, or with an unknown key or a wrong value.
    """
    try:
        tables = parse_toml(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as exc:
        raise BadConfig(f"{path}: cannot be read: {why_unreadable(path, exc)}") from exc
    if "aggregator" in tables:
        return f"aggregator of session {load_aggregator_config(path).session!r}"
    if "node" in tables:
        config = load_node_config(path)
        return f"node {config.id!r} of session {config.session!r}"
    raise BadConfig(
        f"{path}: expected a table [node] or [aggregator], got {', '.join(tables) or 'none'}"
    )


def check_encoder(path: Path) -> str:
    """Check an encoder against the features of the modality that its name begins with.

    Raises:
        BadConfig: the name says no modality.
        EncoderMismatch: it is no encoder, or was made for other features.
    """
    modality = next((m for m in MODALITIES if path.name.startswith(m)), None)
    if modality is None:
        raise BadConfig(
            f"{path}: the file's name must begin with its modality ({', '.join(MODALITIES)})"
        )
    encoder = Encoder.load(modality, path)
    return (
        f"{modality} encoder {encoder.sha256[:12]} of set {encoder.encoder_set or 'unknown'}, "
        f"{encoder.precision}, "
        f"golden vectors met on {encoder.provider}"
    )


def check_recording(path: Path) -> str:
    """Check a recording by reading all of it, its evidence too; says what it is.

    Raises:
        BadRecording: something in it cannot be read, or is wrong.
    """
    recording = open_recording(path)
    manifest = recording.manifest
    for stream in manifest.streams:
        summarise(recording, stream)
    for node in manifest.nodes:
        read_time_samples(recording, node)
    return f"recording {manifest.name!r}, {len(manifest.streams)} streams"


def check_file(path: Path) -> str:
    """Check a file of any kind that Coeval reads; says what it is.

    Raises:
        CoevalError: it cannot be used; a subclass says why.
    """
    if path.is_dir() or path.name == MANIFEST_FILE:
        return check_recording(path)
    if not path.is_file():
        raise BadConfig(f"{path}: no such file")
    if path.suffix == ".toml":
        return check_toml(path)
    if path.suffix == ".onnx":
        return check_encoder(path)
    raise BadConfig(
        f"{path}: expected a .toml, an .onnx, a {MANIFEST_FILE} or a recording's folder"
    )


def check(
    file: Annotated[Path, typer.Argument(help="TOML, recording (file or folder) or ONNX encoder.")],
) -> None:
    """Check a file and exit: 0 where it can be used, 2 where it cannot."""
    try:
        what = check_file(file)
    except BadConfig:
        raise
    except CoevalError as exc:
        raise BadConfig(str(exc)) from exc
    typer.echo(f"{file}: {what}: ok")
