"""Measurements side by side with a bare driver, as ratios of one run: `python -m benchmarks`."""
