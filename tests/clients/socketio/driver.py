"""One client of python-socketio, driven over pipes as `driver.mjs` is."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import socketio

arguments = json.loads(sys.argv[1])
options = arguments["options"]
client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.5)
lock = threading.Lock()


def report(kind: str, **fields: Any) -> None:
    with lock:
        print(json.dumps({"kind": kind, **fields}), flush=True)


client.on("connect", lambda: report("connect", sid=client.get_sid(), transport=client.transport()))
client.on("disconnect", lambda *reason: report("disconnect"))
client.on("connect_error", lambda error: report("connect_error", data=error))
client.on("*", lambda name, *args: report("event", name=name, args=args))
try:
    client.connect(
        arguments["url"],
        auth=options.get("auth"),
        transports=options.get("transports"),
        wait_timeout=30,
    )
except socketio.exceptions.ConnectionError as error:
    report("failed", message=str(error))
for line in sys.stdin:
    for command, (name, *given) in json.loads(line).items():
        args = [bytes(each) for each in given] if command == "bytes" else given
        client.emit(name, *args, callback=lambda *reply: report("ack", reply=reply))
client.shutdown()
