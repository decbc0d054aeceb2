"""A fourth kind of audience, in one file and one row: the connections of users on a list.

    python -m tests.seams.staff clarion_gateway
    python -m tests.seams.staff clarion_publisher

runs a service that knows it.
"""

from __future__ import annotations

import importlib
import sys

from clarion_contract.events.audience import KINDS, Kind

STAFF = {"alice", "carol"}

KINDS["staff"] = Kind("staff", "publish:staff", joins=lambda user: "" if user in STAFF else None)

if __name__ == "__main__":
    server = importlib.import_module(f"{sys.argv.pop(1)}.server")
    sys.exit(server.main())
