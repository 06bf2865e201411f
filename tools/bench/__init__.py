"""Benchmarks: `python -m tools.bench COMMAND`, a module per command."""
