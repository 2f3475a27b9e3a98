"""Measurements, never tests: `python -m benchmarks` prints them as a table."""
