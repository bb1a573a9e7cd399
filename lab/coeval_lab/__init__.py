"""The whole system on one machine: demo, offline align, benchmarks."""
