"""One client of python-socketio for asyncio, driven over pipes as `driver.mjs` is.

It reports events in the order in which they come in. The client in `driver.py` has a thread for each
message, and these may report in any order.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import socketio


def report(kind: str, **fields: Any) -> None:
    print(json.dumps({"kind": kind, **fields}), flush=True)


async def main() -> None:
    arguments = json.loads(sys.argv[1])
    options = arguments["options"]
    client = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.5)
    client.on("connect", lambda: report("connect", sid=client.get_sid()))
    client.on("disconnect", lambda *reason: report("disconnect"))
    client.on("*", lambda name, *args: report("event", name=name, args=args))
    await client.connect(
        arguments["url"],
        auth=options.get("auth"),
        transports=options.get("transports"),
        wait_timeout=30,
    )
    await asyncio.to_thread(sys.stdin.read)  # until the test has seen enough
    await client.shutdown()


asyncio.run(main())
