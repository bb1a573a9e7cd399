"""The probe's real firmware on an emulated board: for tests, the benchmark and the demo."""
