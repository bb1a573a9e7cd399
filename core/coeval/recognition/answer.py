"""What is said of an unlabelled stream."""

from dataclasses import dataclass

from coeval.samples import Modality

SURE = 0.5
"""Below this confidence nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One or several columns that are one sensor."""

    columns: tuple[str, ...]
    """Their names, or `c0`, `c1` … where they have none."""
    kind: str | None
    """What senses them, as `accelerometer`; None: unsure."""
    units: str | None
    """Their unit; None: unsure."""
    confidence: float
    """0…1, of the kind; a guess at the chance that it is right, not a calibrated one."""
    why: str
    """What speaks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeColumn:
    """The column that says when."""

    column: str
    """Its name, or `c0`, `c1` …"""
    unit: str | None
    """`s`, `ms`, `us`, `ns` or `date`; None: unsure."""
    rate_hz: float | None
    """Median rate, where the unit is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What a stream is."""

    modality: Modality | None
    """Its modality; None: unsure."""
    confidence: float
    """0…1, of the modality."""
    format: str
    """What the bytes are, for people: `table, comma, no header`, `NMEA 0183`, `log lines` …"""
    why: str
    """What speaks for it, or what is missing."""
    channels: tuple[Channel, ...] = ()
    """What senses the numbers, where it is numbers."""
    time: TimeColumn | None = None
    """Where the times are, where there are any."""

    def describe(self) -> dict[str, object]:
        """The facts as JSON."""
        return {
            "modality": self.modality,
            "confidence": round(self.confidence, 3),
            "format": self.format,
            "why": self.why,
            "time": None
            if self.time is None
            else {
                "column": self.time.column,
                "unit": self.time.unit,
                "rate_hz": None if self.time.rate_hz is None else round(self.time.rate_hz, 3),
            },
            "channels": [
                {
                    "columns": list(channel.columns),
                    "kind": channel.kind,
                    "units": channel.units,
                    "confidence": round(channel.confidence, 3),
                    "why": channel.why,
                }
                for channel in self.channels
            ],
        }

    def units_by_column(self) -> dict[str, str]:
        """Units of the columns whose units are known."""
        return {
            column: channel.units
            for channel in self.channels
            if channel.units is not None and channel.kind is not None
            for column in channel.columns
        }
