"""Reproducible benchmarks: Clarion and the servers its users run today, side by side.

`python -m clarion_bench fanout` runs the fan-out benchmark. `clarion_bench.commands.app` is the
typer app that `clarion bench` mounts. From code: open `laboratory()` and iterate over `fanout`,
`targeted` or `publishing`. Each yields frozen results (`clarion_bench.results`). README.md beside
this file describes the method.
"""
