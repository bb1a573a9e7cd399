"""Where an aggregator keeps what it gets, and for how long: the table `[aggregator.store]`."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from coeval.errors import BadConfig

NONE = "none"
DEFAULT_STORE = "sqlite:///coeval.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """A store and its bounds."""

    url: str = DEFAULT_STORE
    """`sqlite:///file` (a fourth slash makes the path absolute), `postgresql://user@host/database`,
    or `none`: nothing is kept, and messages are acknowledged as they come."""
    keep_days: float | None = None
    """What is older is deleted; None: nothing is, by age."""
    max_gb: float | None = None
    """The oldest is deleted when blocks take more, in 10⁹ bytes; None: nothing is, by size."""
    max_waiting: int = 20_000
    """Messages that wait while the store is full or away, about 1 kB each; the broker keeps the
    others."""

    def __post_init__(self) -> None:
        scheme = urlsplit(self.url).scheme
        if self.url != NONE and scheme not in ("sqlite", "postgresql"):
            raise BadConfig(
                "url must be sqlite:///FILE, postgresql://USER@HOST/DATABASE or none, "
                f"got {self.url!r}"
            )
        if scheme == "sqlite" and not self.url.removeprefix("sqlite:///").strip("/"):
            raise BadConfig(f"url must name a file, as sqlite:///coeval.db does, got {self.url!r}")
        if scheme == "sqlite" and not self.url.startswith("sqlite:///"):
            raise BadConfig(f"url must have three slashes before the file, got {self.url!r}")
        if not 1 <= self.max_waiting <= 10_000_000:
            raise BadConfig(f"max_waiting must lie within 1…10000000, got {self.max_waiting}")
        for name in ("keep_days", "max_gb"):
            value = getattr(self, name)
            if value is not None and not 1e-6 <= value <= 1e9:
                raise BadConfig(f"{name} must lie within 1e-06…1e+09, got {value}")

    @property
    def is_none(self) -> bool:
        """Whether nothing is kept."""
        return self.url == NONE
