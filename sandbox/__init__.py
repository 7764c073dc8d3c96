"""A simulated Dynamic API with its object store, for the demo, the tests and the benchmarks."""
