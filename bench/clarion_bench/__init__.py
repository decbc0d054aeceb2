"""Reproducible benchmarks: Clarion beside the servers its users run today, on one machine.

`python -m clarion_bench fanout` runs everything; `clarion_bench.commands.app` is the typer app that
`clarion bench` mounts. From code: open `laboratory()` and iterate `fanout`, `targeted` or
`publishing`, each of which yields frozen results (`clarion_bench.results`). See README.md beside
this file for the method.
"""
