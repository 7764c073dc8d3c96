"""A simulated Dynamic API and object store, used by the demo, the tests and the benchmarks."""
