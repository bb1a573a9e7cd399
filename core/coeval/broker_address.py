"""Where the broker is: `mqtt://user@host:port` as an object."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from coeval.errors import BadConfig

DEFAULT_BROKER = "mqtt://127.0.0.1:1883"
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}

PASSWORD_VARIABLE = "COEVAL_BROKER_PASSWORD"
"""Environment variable that holds the password: a secret has no place in a file or a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Host and port of an MQTT broker."""

    host: str
    """Name or address."""
    port: int
    """TCP port."""
    tls: bool = False
    """Whether the connection is encrypted."""
    user: str | None = None
    """User name; None: anonymous."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            BadConfig: another scheme, no host, a bad port, or a password in it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise BadConfig(f"broker {url!r}: {exc}; expected mqtt://host:port") from exc
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise BadConfig(f"broker must be mqtt://host:port or mqtts://host:port, got {url!r}")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise BadConfig(f"broker {url!r}: nothing may follow the port; use 'prefix' for topics")
        if parts.password is not None:
            raise BadConfig(
                f"broker: a password does not belong in the address; set {PASSWORD_VARIABLE}"
            )
        return cls(
            host=parts.hostname,
            port=DEFAULT_PORTS[parts.scheme] if port is None else port,
            tls=parts.scheme == "mqtts",
            user=parts.username,
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"
