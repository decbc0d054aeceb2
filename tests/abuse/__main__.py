"""`make abuse`: hostile clients of each kind beside honest ones, on processes of their own.

With ``--costs``: measure what a request of each kind costs instead, for docs/security.md. With
``--kernel``: what the kernel holds for connections.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.abuse import costs, kernel
from tests.abuse.pods import Pods
from tests.abuse.scenario import Force, Report, run
from tests.abuse.table import KINDS
from tests.chaos.ledger import Ledger

_DESCRIPTORS = 65_536


def main() -> int:
    """Returns the exit code: 1 when an honest client noticed anything, or a bound did not hold."""
    parser = argparse.ArgumentParser(prog="make abuse", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="of attacks, in all")
    parser.add_argument("--kinds", help=f"some of them, separated by commas: {', '.join(KINDS)}")
    parser.add_argument("--connections", type=int, default=Force.connections)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--costs", action="store_true", help="measure what requests cost instead")
    parser.add_argument("--kernel", action="store_true", help="measure the kernel's memory instead")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, _DESCRIPTORS)), hard))
    if options.costs:
        return costs.main()
    if options.kernel:
        return kernel.main()
    names = options.kinds.split(",") if options.kinds else list(KINDS)
    unknown = sorted(set(names) - set(KINDS))
    if unknown:
        parser.error(f"expected kinds out of {', '.join(KINDS)}, got {', '.join(unknown)}")
    force = Force(options.seconds / len(names), options.connections)
    failed = []
    for name in names:
        folder = Path(tempfile.mkdtemp(prefix="clarion-abuse-"))
        report = _scenario(folder, name, force, options.seed)
        print(report, flush=True)
        if report.faults:
            failed.append(name)
            print(f"  logs: {folder}", flush=True)
        else:
            shutil.rmtree(folder)
    print(f"{len(names) - len(failed)} kinds held; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _scenario(folder: Path, name: str, force: Force, seed: int) -> Report:
    """One kind, against pods that nobody has attacked before."""
    pods = Pods(folder)
    with pods.running(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(pods, Ledger(), KINDS[name], force, seed))


if __name__ == "__main__":
    sys.exit(main())
