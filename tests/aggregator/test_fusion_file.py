"""Files that are no fusion network."""

from pathlib import Path

import pytest

from coeval.errors import EncoderMismatch
from coeval_aggregator.fusion import Fusion


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderMismatch, match=r"nothing\.onnx: cannot be read"):
        Fusion.load(tmp_path / "nothing.onnx")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fusion.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(EncoderMismatch, match="not an ONNX file"):
        Fusion.load(path)


def test_an_encoder_is_no_fusion_network() -> None:
    from coeval_edge.encoder import shipped_model

    with pytest.raises(EncoderMismatch, match="expected coeval-fusion/3, got none stated"):
        Fusion.load(shipped_model("video"))
