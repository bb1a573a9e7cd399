"""Coeval: every sensor stream of a scene on one timeline.

This package is what every other one shares: numpy and the standard library, no I/O
(`coeval.cli` excepted: it only finds and runs the subcommands).
"""

__version__ = "0.1.0"
