"""Builds small real recordings: CSV text, encoded sound and pictures."""

import json
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from coeval_edge.recording import Recording, open_recording

SHARED = Path(__file__).parents[3] / "shared"


class RecordingMaker:
    """Writes files into a folder, then the manifest."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, file: str, text: str) -> str:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return file

    def sound(self, file: str, pcm: NDArray[np.float32], *, rate_hz: int) -> str:
        """Sound, shape (channels, n) or (n,), as WAV of 16 bits."""
        channels = np.atleast_2d(pcm)
        whole = np.rint(channels.T * 32767).astype(np.int16).reshape(1, -1)
        layout = "mono" if len(channels) == 1 else "stereo"
        with av.open(str(self.root / file), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=rate_hz, layout=layout)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole), "s16", layout)
            frame.sample_rate = rate_hz
            container.mux([*stream.encode(frame), *stream.encode(None)])
        return file

    def video(self, file: str, levels: Sequence[int], *, rate_hz: int) -> str:
        """One evenly grey picture of 128 × 96 a level."""
        with av.open(str(self.root / file), "w") as container:
            stream = container.add_stream("mpeg4", rate=rate_hz)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for level in levels:
                grey = np.full((96, 128), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
            container.mux(stream.encode(None))
        return file

    def picture(self, file: str, level: int) -> str:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", format="image2") as container:
            stream = container.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 96, 72, "gray"
            grey = np.full((72, 96), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
            container.mux(stream.encode(None))
        return file

    def manifest(self, *streams: dict[str, object], **keys: object) -> Path:
        """Write `recording.json`; a stream without a node is on node `n`."""
        listed = [{"id": "s", "node": "n"} | stream for stream in streams]
        nodes = {str(stream["node"]): {} for stream in listed}
        manifest = {"format": "coeval-recording/1", "name": "made", "nodes": nodes}
        text = json.dumps(manifest | {"streams": listed} | keys)
        (self.root / "recording.json").write_text(text, encoding="utf-8")
        return self.root

    def open(self, *streams: dict[str, object], **keys: object) -> Recording:
        return open_recording(self.manifest(*streams, **keys))


@pytest.fixture
def maker(tmp_path: Path) -> RecordingMaker:
    root = tmp_path / "rec"
    root.mkdir()
    return RecordingMaker(root)


@pytest.fixture
def shared() -> Path:
    if not (SHARED / "recordings").is_dir():
        pytest.skip("needs ../shared/recordings, which is not here")
    return SHARED
