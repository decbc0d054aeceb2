"""A process of hostile clients: ``python -m tests.abuse.hostile KIND``, its plan on standard input.

Prints what it did, and what it found, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from tests.abuse.attack import Attack, Plan
from tests.abuse.table import KINDS


def main() -> None:
    """Attack, and tell."""
    (kind,) = sys.argv[1:]
    attack = Attack(Plan.decode(sys.stdin.read()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(KINDS[kind].attack(attack))  # type: ignore[arg-type]
    print(json.dumps({"counts": attack.counts, "faults": attack.faults}))


if __name__ == "__main__":
    main()
