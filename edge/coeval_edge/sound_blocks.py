"""Sound cut into blocks of about one length, by sample number, and brought to one rate."""

from collections.abc import Iterator

import numpy as np

from coeval.samples import AudioBlock, FloatArray
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.media import Resampler
from coeval_edge.sound_clock import SoundClock, SoundPiece, spans

AUDIO_RATE_HZ = 16_000
"""Rate of the blocks, before the node clock's own error."""
BLOCK_S = 0.5
"""Length of a block."""


def audio_blocks(
    pieces: Iterator[FloatArray], clock: SoundClock, *, native_hz: int
) -> Iterator[AudioBlock]:
    """A file's sound as blocks of about half a second at 16 kHz of the node's clock.

    Args:
        pieces: its samples, in pieces of any length.
        clock: node times of the samples.
        native_hz: the rate that the file states.
    """
    sound = Cutter(pieces, at_most=round(BLOCK_S * native_hz))
    for piece, end in spans(clock, num_samples=None):
        sound.skip_to(piece.first_sample)
        yield from blocks_of_piece(sound, piece, end=end, native_hz=native_hz)


class Cutter:
    """Cuts pieces of sound of any length into blocks of about one length, by sample number."""

    def __init__(self, pieces: Iterator[FloatArray], *, at_most: int) -> None:
        self._pieces, self._at_most = pieces, max(at_most, 1)
        self._held = np.zeros(0, np.float32)
        self._position = 0

    def skip_to(self, sample: int) -> None:
        """Leave out the samples before a number."""
        for _ in self.until(sample):
            pass

    def until(self, end: int | None) -> Iterator[tuple[FloatArray, bool]]:
        """Blocks up to a sample number (None: to the end), and whether each is the last one."""
        while end is None or self._position < end:
            wanted = self._at_most if end is None else min(self._at_most, end - self._position)
            self._fill(wanted + 1)
            block, self._held = self._held[:wanted], self._held[wanted:]
            self._position += len(block)
            over = not len(self._held) or self._position == end
            if len(block):
                yield block, over
            if not len(self._held):
                return

    def _fill(self, num_samples: int) -> None:
        parts, length = [self._held], len(self._held)
        while length < num_samples:
            piece = next(self._pieces, None)
            if piece is None:
                break
            parts.append(piece)
            length += len(piece)
        if len(parts) > 1:
            self._held = np.concatenate(parts)


def blocks_of_piece(
    sound: Cutter, piece: SoundPiece, *, end: int | None, native_hz: int
) -> Iterator[AudioBlock]:
    """The blocks of one piece, resampled on its own: nothing rings across a jump."""
    rate_hz = AUDIO_RATE_HZ * piece.rate_hz / native_hz
    resampler = Resampler(from_hz=native_hz, to_hz=AUDIO_RATE_HZ)
    done = 0
    for pcm, is_last in sound.until(end):
        ready = pcm
        if native_hz != AUDIO_RATE_HZ:
            ready = resampler.push(pcm)
            if is_last:
                ready = np.concatenate([ready, resampler.flush()])
        if len(ready):
            t_ns = piece.t0_ns + round(done / rate_hz * NS_PER_S)
            yield AudioBlock(t_node_ns=NodeNs(t_ns), rate_hz=rate_hz, pcm=ready)
            done += len(ready)
