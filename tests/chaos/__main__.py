"""`make chaos`: runs scenarios one after the other, each with its own seed, until time is over."""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.chaos.scenario import Kind, Scale, run

_SCENARIO_SECONDS = 60.0


def main() -> int:
    """Return the exit code: 1 if an event was lost or doubled, or a client was told a falsehood."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="of failures, in all")
    parser.add_argument("--seed", type=int, help="of the first scenario; others count on from it")
    parser.add_argument("--clients", type=int, default=120)
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--events", type=float, default=60, help="published per second")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65_536)), hard))
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    left, dirty = options.seconds, 0
    while left > 0:
        seconds = min(left, _SCENARIO_SECONDS)
        scale = Scale(
            seconds=seconds,
            clients=options.clients,
            gateways=options.gateways,
            events_per_second=options.events,
        )
        dirty += not _scenario(seed, scale)
        left -= seconds
        seed += 1
    return 1 if dirty else 0


def _scenario(seed: int, scale: Scale) -> bool:
    """Run one scenario and print its report; return whether it was clean. If not, keep its logs."""
    kind = list(Kind)[seed % len(Kind)]
    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="clarion-chaos-")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(run(seed, scale, Path(folder), kind, announce=print))
    print(f"{report}\n  took {time.monotonic() - began:.0f} s", flush=True)
    if report.clean:
        shutil.rmtree(folder)
    else:
        print(
            f"  logs: {folder}\n  again: make chaos ARGS='--seed {seed} --seconds {scale.seconds:.0f}'"
        )
    return report.clean


if __name__ == "__main__":
    sys.exit(main())
