"""Benchmarks: every figure that the README quotes is measured here."""
