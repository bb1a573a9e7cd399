"""What every benchmark makes and hears: rows of its table, and somebody to tell how far it is."""

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
"""One line of a table by column; None: unknown, or nothing to measure."""
Say = Callable[[str], None]
"""Takes a line of progress, for people."""
