"""Benchmarks: `python -m tools.bench COMMAND`; each command is a module."""
