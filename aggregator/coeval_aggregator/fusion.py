"""Hybrid fusion on the server: streams on one timeline in, one vector and judgements a tick out.

The network is `models/fusion.onnx`. It says which encoders' embeddings it was trained on; others
are refused by name. Scores become alarms through the rate at which calm material would pass them.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from coeval.alarm_rate import S_PER_DAY, AlarmRate
from coeval.errors import EncoderMismatch
from coeval.fusion_input import TICK_HOPS, SessionInputs, TickInputs
from coeval.hops import HOP_NS
from coeval.samples import MODALITIES, FloatArray, Modality
from coeval_aggregator.own_usual import OwnPast

if TYPE_CHECKING:
    import onnxruntime

Mode = Literal["early", "late", "hybrid"]
MODES: tuple[Mode, ...] = get_args(Mode)
TICK_NS = TICK_HOPS * HOP_NS
WARM_HOPS = 200
"""A stream is judged after as many hops (10 s): before, nothing is usual for it."""
ALARMS_PER_DAY = 1.0
"""False alarms a day and session that an alarm accepts, unless told otherwise."""
RAISED_SHARE = 0.1
"""A stream lies above the calm that was counted where it spends half of its time above a score that
the calm passes a tenth of its time."""
UNKNOWN_RISE = 1.0
"""So far above it, in log-odds, a stream is taken to lie while its own past is not known: a little
more than the worst of 13 streams of the real recordings that were trained on (0.8)."""
TICKS_AT_ONCE = 4
"""More ticks go through the network in parts: onnxruntime keeps what its largest run took for ever.
Of 20 streams, 176 ticks, made up after the aggregator had stood still, took 260 MB more; in such
parts 5 MB, and no longer time: 1.2 ms a tick in parts of 4, 8 and 16 alike; without its arena it
takes as much memory, and twice the time in parts of 16 (2026-11-26)."""
SPEC = "coeval-fusion/3"
SHIPPED = Path(str(files("coeval_aggregator").joinpath("models", "fusion.onnx")))
"""The fusion network that ships with this package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHops:
    """The next or last hops of one stream, on the timeline."""

    name: str
    """Which stream."""
    modality: Modality
    """What it senses."""
    rows: FloatArray
    """Embeddings, shape (T, 16); T a multiple of TICK_HOPS, the same for all streams."""
    covered: FloatArray
    """1 where there is a row, else 0, shape (T,)."""
    surprise: FloatArray | None = None
    """That the samples behind the rows repeat, in nats, shape (T,); None: it was not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedStream:
    """What a tick says of one stream."""

    score: float
    """Log-odds that it is not as it should be, by what it shows."""
    surprise: float
    """How unlike its past it is that its samples repeat, in nats; 0: they do not."""
    per_day: float | None
    """Alarms a day that such a calm stream would raise at this score; None: not calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedTick:
    """One fused moment."""

    vector: FloatArray | None
    """Shape (64,), early fusion's half and late fusion's; None: no stream is there."""
    anomaly: float | None
    """How rare this is, as log10 of the days between such false alarms of a calm session: 0 is once
    a day, 1 once in ten days, −3 is nothing; None: no stream can be judged yet."""
    is_alarm: bool
    """Whether it passes the accepted rate."""
    suspect: str | None
    """The stream that is least as it should be; None: none can be judged."""
    streams: Mapping[str, FusedStream] = field(default_factory=dict)
    """Every stream that is there and has been for WARM_HOPS hops."""


class Fusion:
    """The fusion network, and what its scores mean."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        *,
        sha256: str,
        encoders: Mapping[Modality, str],
        rates: Mapping[Mode, Mapping[Modality, AlarmRate]],
        mode: Mode,
    ) -> None:
        self._session = session
        self.sha256 = sha256
        self.encoders = encoders
        """Hash of the encoder of each modality that it was trained on."""
        self.rates = rates
        """How often calm streams pass a score, by mode and modality."""
        self.mode = mode
        """Which fusion answers."""

    @classmethod
    def load(cls, path: Path | None = None, *, mode: Mode = "hybrid") -> Self:
        """Open a fusion file, by default the one that ships.

        Raises:
            EncoderMismatch: it cannot be read, or is no fusion network of this version.
        """
        path = path or SHIPPED
        try:
            import onnxruntime  # a session without fusion needs none
        except ImportError as exc:
            raise EncoderMismatch(
                "fusion: onnxruntime is not installed; pip install 'coeval[server]'"
            ) from exc
        try:
            model = path.read_bytes()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except OSError as exc:
            raise EncoderMismatch(f"fusion {path}: cannot be read: {exc.strerror}") from exc
        except Exception as exc:  # onnxruntime raises its own kinds for every malformed file
            raise EncoderMismatch(f"fusion {path}: not an ONNX file that can be run") from exc
        described = session.get_modelmeta().custom_metadata_map
        if described.get("spec") != SPEC:
            raise EncoderMismatch(
                f"fusion {path}: expected {SPEC}, got {described.get('spec', 'none stated')}; "
                "use the file that ships with this version or run `make models` again"
            )
        rates = {
            mode_: {m: AlarmRate.from_json(rate) for m, rate in by_modality.items()}
            for mode_, by_modality in json.loads(described["rates"]).items()
        }
        return cls(
            session,
            sha256=hashlib.sha256(model).hexdigest(),
            encoders=json.loads(described["encoders"]),
            rates=rates,
            mode=mode,
        )

    def require(self, encoders: Mapping[Modality, str]) -> None:
        """Refuse embeddings of other encoders than it was trained on.

        Raises:
            EncoderMismatch: one of them is another.
        """
        for modality, sha256 in encoders.items():
            wanted = self.encoders.get(modality)
            if sha256 != wanted:
                raise EncoderMismatch(
                    f"fusion: trained on the {modality} encoder {str(wanted)[:12]}, "
                    f"got {sha256[:12]}; run `make models` again or use the shipped encoders"
                )

    def guaranteed_per_day(self, modality: Iterable[Modality]) -> float | None:
        """The lowest rate of false alarms of such streams together that calm hours alone bear out.

        Args:
            modality: of each stream that is judged; None is returned where there is none.
        """
        rates = self.rates.get(self.mode, {})
        borne = [rates[m].guaranteed_per_day for m in modality if m in rates]
        return sum(borne) if borne else None

    def per_day(
        self,
        score: NDArray[np.floating] | float,
        surprise: NDArray[np.floating] | float,
        *,
        modality: Modality,
        mode: Mode | None = None,
        usual: NDArray[np.floating] | float | None = None,
    ) -> NDArray[np.float64] | None:
        """Alarms a day that such a calm stream would raise; None: not calibrated.

        Args:
            score: the network's of one tick or many, as high as it lasted (`coeval.alarm_rate`).
            surprise: that samples repeat, in nats; of text nobody asks.
            modality: of the stream.
            mode: which fusion's scores; None: the one that answers.
            usual: what is usual for the stream (`OwnPast`), NaN where that is not known; a stream
                that usually lies above the calm that was counted is the more above it when
                something is wrong. None: it is like the calm that was counted.
        """
        rate = self.rates.get(mode or self.mode, {}).get(modality)
        if rate is None:
            return None
        rise: NDArray[np.floating] | float = 0.0
        if usual is not None:
            rise = np.maximum(np.asarray(usual) - rate.passed(RAISED_SHARE), 0.0)
            rise = np.where(np.isnan(rise), UNKNOWN_RISE, rise)
        shown = rate.at(score - rise)
        if modality == "text":
            return shown
        repeats = S_PER_DAY * np.exp(-np.asarray(surprise, np.float64))
        # Each of the two may raise the alarm.
        both: NDArray[np.float64] = 2.0 * np.minimum(shown, repeats)
        return both

    def in_mode(self, mode: Mode) -> "Fusion":
        """The same network, another fusion answering."""
        return Fusion(
            self._session,
            sha256=self.sha256,
            encoders=self.encoders,
            rates=self.rates,
            mode=mode,
        )

    def run(self, inputs: TickInputs, modality: Sequence[Modality]) -> "RawTicks":
        """The network's own answer for N ticks of S streams."""
        n = len(inputs.recent)
        kinds = np.array([MODALITIES.index(m) for m in modality], np.int64)
        present = inputs.covered[:, :, -1]
        fed = {name: getattr(inputs, name) for name in TickInputs.__slots__}
        fed |= {"modality": np.repeat(kinds[None], n, axis=0), "present": present}
        parts = [
            self._session.run(
                ["vectors", "scores"],
                {name: each[begin : begin + TICKS_AT_ONCE] for name, each in fed.items()},
            )
            for begin in range(0, max(n, 1), TICKS_AT_ONCE)
        ]
        vectors, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        return RawTicks(vectors=vectors, scores=scores, present=present)

    def fuse(
        self, streams: Sequence[StreamHops], *, ticks: int = 1, per_day: float = ALARMS_PER_DAY
    ) -> list[FusedTick]:
        """The last ticks of streams whose last minute is given; keeps nothing.

        Args:
            streams: their last hops; a minute (1200) tells all that is ever used.
            ticks: how many of the last ticks to answer for.
            per_day: false alarms a day and session that an alarm accepts.
        """
        return FusionTrack(self, per_day=per_day).push(streams)[-ticks:]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTicks:
    """What the network answers, for all modes."""

    vectors: FloatArray
    """Shape (N, 3, 64), in the order of MODES."""
    scores: FloatArray
    """Shape (N, 3, S)."""
    present: FloatArray
    """1 where a stream is there at the tick, shape (N, S)."""


class FusionTrack:
    """Follows one session, tick after tick; streams may come and go."""

    def __init__(self, fusion: Fusion, *, per_day: float = ALARMS_PER_DAY) -> None:
        """Begin with no stream.

        Args:
            fusion: the network.
            per_day: false alarms a day and session that an alarm accepts.
        """
        self._fusion = fusion
        self._per_day = per_day
        self._names: list[str] = []
        self._hops: dict[str, int] = {}
        self._past: dict[str, OwnPast] = {}
        self._inputs = SessionInputs(())

    def push(
        self, streams: Sequence[StreamHops], *, moved: Collection[str] = ()
    ) -> list[FusedTick]:
        """The ticks of the streams' next hops; a stream that is missing is forgotten.

        Args:
            streams: all of them; one that is there but has nothing to show comes with `covered` 0
                and is remembered.
            moved: streams that were put elsewhere on the timeline: nothing that was known of them
                holds, and they are judged again after WARM_HOPS.
        """
        if not streams:
            self._names, self._hops, self._past = [], {}, {}
            self._inputs = SessionInputs(())
            return []
        names = [stream.name for stream in streams]
        if names != self._names or moved:
            before = {name: k for k, name in enumerate(self._names) if name not in moved}
            self._inputs = self._inputs.rearranged(
                [before.get(name) for name in names], [stream.modality for stream in streams]
            )
            self._hops = {name: self._hops.get(name, 0) if name in before else 0 for name in names}
            self._past = {name: self._past[name] if name in before else OwnPast() for name in names}
            self._names = names
        inputs = self._inputs.push(
            np.stack([stream.rows for stream in streams]),
            np.stack([stream.covered for stream in streams]),
        )
        raw = self._fusion.run(inputs, [stream.modality for stream in streams])
        covered = np.stack([stream.covered for stream in streams])
        ends = np.arange(1, len(raw.vectors) + 1) * TICK_HOPS
        seen = np.cumsum(covered, axis=1)[:, ends - 1]
        seen += np.array([self._hops[name] for name in names])[:, None]
        for name, count in zip(names, seen[:, -1], strict=True):
            self._hops[name] = int(count)
        return [self._tick(raw, n, streams, seen[:, n]) for n in range(len(ends))]

    def _tick(
        self, raw: RawTicks, n: int, streams: Sequence[StreamHops], seen: FloatArray
    ) -> FusedTick:
        mode = MODES.index(self._fusion.mode)
        found: dict[str, FusedStream] = {}
        for s, stream in enumerate(streams):
            if not raw.present[n, s] or seen[s] < WARM_HOPS:
                continue
            score = float(raw.scores[n, mode, s])
            last = (n + 1) * TICK_HOPS - 1
            surprise = 0.0 if stream.surprise is None else float(stream.surprise[last])
            lasted, usual = self._past[stream.name].push(score)
            rate = self._fusion.per_day(lasted, surprise, modality=stream.modality, usual=usual)
            found[stream.name] = FusedStream(
                score=score,
                surprise=surprise,
                per_day=None if rate is None else float(rate),
            )
        judged = {name: s.per_day for name, s in found.items() if s.per_day is not None}
        suspect = min(judged, key=lambda name: judged[name]) if judged else None
        # Any of the streams may raise the session's alarm.
        rate_of_session = len(judged) * judged[suspect] if suspect is not None else None
        return FusedTick(
            vector=raw.vectors[n, mode] if raw.present[n].any() else None,
            anomaly=None
            if rate_of_session is None
            else float(-np.log10(max(rate_of_session, 1e-12))),
            is_alarm=rate_of_session is not None and rate_of_session <= self._per_day,
            suspect=suspect,
            streams=found,
        )
