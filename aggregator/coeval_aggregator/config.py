"""The aggregator's configuration: a TOML file with the table `[aggregator]`, or flags, or both."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from coeval.broker_address import DEFAULT_BROKER, BrokerAddress
from coeval.config_table import parse_toml, read_table
from coeval.errors import BadConfig
from coeval.topics import DEFAULT_PREFIX, DEFAULT_SESSION, Topics, check_node_id
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.store.config import StoreConfig

ALL_SESSIONS = "+"
"""MQTT's own sign for any one level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatorConfig:
    """An aggregator: which sessions, and how it estimates."""

    session: str = DEFAULT_SESSION
    """The session it serves; `+`: all there are."""
    prefix: str = DEFAULT_PREFIX
    """What every topic begins with."""
    broker: str = DEFAULT_BROKER
    """Address of the broker."""
    reference: str | None = None
    """The node whose clock is the timeline; None: the first one, by name, that sends blocks."""
    window_s: float = 600.0
    """Embeddings kept of every stream: what an estimate sees."""
    estimate_s: float = 3.0
    """Time between estimates; a slow machine takes longer."""
    max_offset_s: float = 60.0
    """Offsets searched, to either side."""
    tick_s: float = 0.25
    """Time between aligned ticks."""
    tick_wait_s: float = 5.0
    """How long a tick waits for a stream that is behind."""
    fusion: Literal["hybrid", "early", "late", "mean"] = "hybrid"
    """How a tick's streams are fused; mean, which needs no network, also where the network cannot
    be used."""
    false_alarms_per_day: float = 1.0
    """False alarms a day that a session's anomalies may cost."""
    max_streams: int = 128
    """Streams of a session beyond it are refused: about 0.8 MB each at a window of 600 s."""
    max_sessions: int = 64
    """Sessions beyond it are not served."""
    home_assistant: bool = False
    """Whether nodes are announced to Home Assistant; else earlier announcements are removed."""
    store: StoreConfig = field(default_factory=StoreConfig)
    """Where what comes is kept."""
    api: ApiConfig = field(default_factory=ApiConfig)
    """Where it answers over HTTP."""

    def __post_init__(self) -> None:
        Topics(
            session=DEFAULT_SESSION if self.serves_all else self.session, prefix=self.prefix
        )  # checks both
        BrokerAddress.parse(self.broker)
        if self.reference is not None:
            try:
                check_node_id(self.reference)
            except BadConfig as exc:
                raise BadConfig(f"reference: {exc}") from exc
        for name, low, high in (
            ("window_s", 10.0, 86_400.0),
            ("estimate_s", 0.1, 3600.0),
            ("max_offset_s", 0.1, 3600.0),
            ("tick_s", 0.05, 60.0),
            ("tick_wait_s", 0.0, 600.0),
            ("false_alarms_per_day", 1e-3, 1000.0),
            ("max_streams", 1, 10_000),
            ("max_sessions", 1, 10_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise BadConfig(f"{name} must lie within {low:g}…{high:g}, got {value}")

    @property
    def serves_all(self) -> bool:
        """Whether it serves every session that there is."""
        return self.session == ALL_SESSIONS

    @property
    def topics(self) -> Topics:
        """The topics of its session."""
        return Topics(session=self.session, prefix=self.prefix)

    def of_session(self, session: str) -> "AggregatorConfig":
        """The same for one session.

        Raises:
            BadConfig: the name cannot be one.
        """
        return replace(self, session=session)


def load_aggregator_config(path: Path) -> AggregatorConfig:
    """Read an aggregator's file.

    Raises:
        BadConfig: unreadable, not TOML, or with an unknown key or a wrong value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise BadConfig(
            f"{path}: cannot be read: {exc.strerror}; name another by --config"
        ) from exc
    except UnicodeDecodeError as exc:
        raise BadConfig(f"{path}: cannot be read: it is no UTF-8 text ({exc.reason})") from exc
    tables = parse_toml(text, where=str(path))
    return read_table(tables, "aggregator", AggregatorConfig, where=str(path))
