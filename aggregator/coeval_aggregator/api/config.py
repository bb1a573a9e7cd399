"""Where the API listens: the table `[aggregator.api]`."""

from dataclasses import dataclass

from coeval.errors import BadConfig

NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """Where the API listens."""

    listen: str = "127.0.0.1:8787"
    """Address and port, or `none`. It has no password: put a proxy before any other address."""

    def __post_init__(self) -> None:
        if not self.is_none:
            self.address  # noqa: B018  checks it

    @property
    def is_none(self) -> bool:
        """Whether there is no API."""
        return self.listen == NONE

    @property
    def address(self) -> tuple[str, int]:
        """Host and port.

        Raises:
            BadConfig: it is no such pair.
        """
        host, separator, port = self.listen.rpartition(":")
        if not separator or not host or not port.isdecimal() or int(port) > 65_535:
            raise BadConfig(f"listen must be HOST:PORT or none, got {self.listen!r}")
        return host.strip("[]"), int(port)
