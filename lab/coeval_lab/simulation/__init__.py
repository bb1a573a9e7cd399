"""Clocks and networks in simulated time: seeded, faster than real, with a truth that is known."""
