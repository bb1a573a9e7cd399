"""Parts of `coeval bench encoders` that have a module of their own: rows, and bars on them."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from coeval_lab.bench.bars import Bar
from coeval_lab.bench.encoders_plan import Plan, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part."""

    name: str
    """`section` of its rows."""
    title: str
    """Above its table."""
    module: str
    """Where it is made."""
    rows: str
    """Name of the function there that measures; it is given the plan's values that it names."""
    bars: Callable[[Sequence[Row]], list[Bar]] = lambda _: []
    """How its promises stand, by its rows."""


SECTIONS: tuple[Section, ...] = ()


def rows_of_section(section: Section, plan: Plan) -> list[Row]:
    """Measure one part."""
    measure: Callable[..., Any] = getattr(importlib.import_module(section.module), section.rows)
    return [{"section": section.name, **row} for row in measure(plan)]
