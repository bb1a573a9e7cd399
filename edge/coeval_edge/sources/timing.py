"""Where a source's stamps come from, and how far they can be believed: told in the descriptor."""

from dataclasses import dataclass
from typing import Literal

from coeval.time import NS_PER_S

Origin = Literal["hardware", "kernel", "driver", "sender", "arrival"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What is known of a source's stamps."""

    origin: Origin
    """Who stamps: the sensor's hardware, the kernel, its driver, whoever sends the data, or, as the
    last resort, this program when the data arrive."""
    latency_ns: float
    """What is subtracted from the stamps: how late they are on average."""
    sigma_ns: float
    """Standard deviation of what is left."""
    how: str
    """In words."""

    def describe(self) -> dict[str, object]:
        """For the stream's descriptor."""
        return {
            "origin": self.origin,
            "latency_s": self.latency_ns / NS_PER_S,
            "sigma_s": self.sigma_ns / NS_PER_S,
            "how": self.how,
        }
