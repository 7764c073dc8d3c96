"""Benchmarks of speed and memory, reported as ratios between candidates measured in the same run."""
