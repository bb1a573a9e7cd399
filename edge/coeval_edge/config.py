"""The node's configuration: one TOML file with the table `[node]`, or flags, or both."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from coeval.broker_address import DEFAULT_BROKER, BrokerAddress
from coeval.config_table import parse_toml, read_table
from coeval.errors import BadConfig
from coeval.preprocessing import Preprocessing
from coeval.samples import MODALITIES
from coeval.topics import DEFAULT_PREFIX, DEFAULT_SESSION, Topics, check_node_id
from coeval.wire import MAX_COUNT
from coeval_edge.clock_keeper import TimeConfig
from coeval_edge.live import SourcesConfig
from coeval_edge.pipeline import BLOCK_HOPS
from coeval_edge.providers import ProviderName
from coeval_edge.spool import DEFAULT_MAX_BYTES, SEGMENT_BYTES
from coeval_edge.unreadable import why_unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """What a node replays."""

    recording: Path
    """The recording's folder; in a file, relative to the file."""
    streams: tuple[str, ...] = ()
    """Which of the node's streams; none: all."""
    speed: float = 1.0
    """Seconds of the recording a second; inf: as fast as it goes."""
    offset_s: float = 0.0
    """Error given to the clock, at the recording's start; positive: the node is fast."""
    skew_ppm: float = 0.0
    """Rate error given to the clock; positive: the node is fast."""
    loop: bool = False
    """Whether to begin again at the end, for ever."""

    def __post_init__(self) -> None:
        if not self.speed > 0:
            raise BadConfig(
                f"speed must be above 0 (1: real time, inf: no waiting), got {self.speed}"
            )
        if not math.isfinite(self.offset_s) or abs(self.offset_s) > 1e9:
            raise BadConfig(f"offset_s must be a number of seconds up to 1e9, got {self.offset_s}")
        if not abs(self.skew_ppm) <= 1e5:
            raise BadConfig(f"skew_ppm must lie within ±100000, got {self.skew_ppm}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelevanceConfig:
    """What becomes of a stream while it carries nothing: a frozen camera, silence, spam."""

    watch: bool = True
    """Whether streams are looked at, and told of where they carry nothing."""
    drop: bool = True
    """Whether what carries nothing is left out; it is sent again at once when it does."""

    def __post_init__(self) -> None:
        if self.drop and not self.watch:
            raise BadConfig("drop needs watch: what nobody looks at cannot be left out")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """A node: who it is, where it publishes, what it reads."""

    id: str
    """Its name in the session; for a replay, also the node's name in the recording."""
    replay: ReplayConfig | None = None
    """What to replay; None: the node is live."""
    time: TimeConfig | None = None
    """What a live node measures of its clock; None: what is on by default, unless it replays."""
    sources: SourcesConfig | None = None
    """The streams of a live node; None: none."""
    session: str = DEFAULT_SESSION
    """The session it belongs to."""
    prefix: str = DEFAULT_PREFIX
    """What every topic begins with."""
    broker: str = DEFAULT_BROKER
    """Address of the broker."""
    block_hops: int = BLOCK_HOPS
    """Rows in a block: more is cheaper, fewer is sooner."""
    spool: Path | None = None
    """Folder of unacknowledged blocks; None: a temporary one, which no restart survives."""
    spool_max_bytes: int = DEFAULT_MAX_BYTES
    """Limit of the spool; beyond it the oldest blocks are dropped."""
    drain_s: float = 30.0
    """At the end: how long to wait for the broker's acknowledgements."""
    relevance: RelevanceConfig = field(default_factory=RelevanceConfig)
    """What becomes of a stream while it carries nothing."""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    """What is taken out of samples before features describe them."""
    encoders: Mapping[str, Path] = field(default_factory=dict)
    """Encoder files by modality, in place of those that ship."""
    execution_provider: ProviderName = "auto"
    """What runs the encoders; auto: the fastest that is there and answers rightly."""
    accept_models: bool = False
    """Whether to take encoders that the session announces. Off: who may publish to the broker would
    choose what runs here."""
    model_folder: Path | None = None
    """Where accepted encoders are kept; needed where they are accepted."""

    def __post_init__(self) -> None:
        check_node_id(self.id)
        is_live = self.time is not None or self.sources is not None
        if (self.replay is not None) == is_live:
            raise BadConfig(
                "replay, or sources and time: a node either replays a recording (whose clock is "
                "not this device's) or is live; give the table of one of the two"
            )
        receivers = {} if self.sources is None else self.sources.nmea
        for name, line in ({} if self.time is None else self.time.pps).items():
            if line.nmea is not None and line.nmea not in receivers:
                raise BadConfig(
                    f"time.pps.{name}.nmea: no [node.sources.nmea.{line.nmea}]; "
                    f"known: {', '.join(receivers) or 'none'}"
                )
        probes = {} if self.sources is None else self.sources.probe
        pps_lines = {} if self.time is None else self.time.pps
        for name, probe in probes.items():
            if probe.pps is not None and probe.pps not in pps_lines:
                raise BadConfig(
                    f"sources.probe.{name}.pps: no [node.time.pps.{probe.pps}]; "
                    f"known: {', '.join(pps_lines) or 'none'}"
                )
            if probe.nmea is not None and probe.nmea not in receivers:
                raise BadConfig(
                    f"sources.probe.{name}.nmea: no [node.sources.nmea.{probe.nmea}]; "
                    f"known: {', '.join(receivers) or 'none'}"
                )
        self.topics  # noqa: B018  checks session and prefix
        BrokerAddress.parse(self.broker)
        if not 1 <= self.block_hops <= MAX_COUNT:
            raise BadConfig(f"block_hops must be 1…{MAX_COUNT}, got {self.block_hops}")
        if self.spool_max_bytes < 2 * SEGMENT_BYTES:
            raise BadConfig(
                f"spool_max_bytes must be at least {2 * SEGMENT_BYTES}, got {self.spool_max_bytes}"
            )
        if not 0 <= self.drain_s < math.inf:
            raise BadConfig(f"drain_s must be 0 or more seconds, got {self.drain_s}")
        if self.accept_models and self.model_folder is None:
            raise BadConfig(
                "accept_models: say where accepted encoders are kept, as in "
                "model_folder = '/var/lib/coeval/models'"
            )
        for modality in self.encoders:
            if modality not in MODALITIES:
                raise BadConfig(
                    f"encoders: unknown modality {modality!r}; expected {', '.join(MODALITIES)}"
                )

    @property
    def topics(self) -> Topics:
        """The topics of its session."""
        return Topics(session=self.session, prefix=self.prefix)


def load_node_config(path: Path) -> NodeConfig:
    """Read a node's file; paths in it are relative to it.

    Raises:
        BadConfig: unreadable, not TOML, or with an unknown key or a wrong value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise BadConfig(f"{path}: cannot be read: {why_unreadable(path, exc)}") from exc
    config = read_table(parse_toml(text, where=str(path)), "node", NodeConfig, where=str(path))
    base = path.parent
    return replace(
        config,
        replay=None
        if config.replay is None
        else replace(config.replay, recording=base / config.replay.recording),
        sources=None
        if config.sources is None
        else replace(
            config.sources,
            file={
                name: replace(tail, path=base / tail.path)
                for name, tail in config.sources.file.items()
            },
            journal={
                name: journal
                if journal.directory is None
                else replace(journal, directory=base / journal.directory)
                for name, journal in config.sources.journal.items()
            },
        ),
        spool=None if config.spool is None else base / config.spool,
        model_folder=None if config.model_folder is None else base / config.model_folder,
        encoders={modality: base / file for modality, file in config.encoders.items()},
    )
