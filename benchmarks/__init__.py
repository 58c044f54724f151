"""Compare this package with its peers, in one run on one machine: `python -m benchmarks` (see benchmarks/README.md)."""
