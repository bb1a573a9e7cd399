"""The probe's firmware that ships: a UF2 image, and what it was built from (`make firmware`)."""

import json
from importlib.resources import files
from typing import Any


def probe_image() -> bytes:
    """The image."""
    return (files("coeval_edge") / "firmware" / "probe.uf2").read_bytes()


def manifest() -> dict[str, Any]:
    """Its version, the id of its sources, the compiler, and its hash."""
    text = (files("coeval_edge") / "firmware" / "probe.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
