"""A backend that answers what the clients of a Clarion gateway send.

    CLARION_SECRET=whsec_… uvicorn clarion_examples.upstream.app:app --port 3000

It needs no package of Clarion's: a gateway calls it over HTTP. README.md says how to try it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request

_TOLERATED_SECONDS = 300

app = FastAPI()


@app.post("/clarion")
async def answer(request: Request) -> dict[str, Any]:
    """Answer one message."""
    body = await request.body()
    try:
        verify(os.environ["CLARION_SECRET"], request.headers, body)
    except (KeyError, ValueError, PermissionError) as error:
        raise HTTPException(403, "expected a request that the gateway has signed") from error
    event = json.loads(body)
    if event["clariontype"] != "room.say":
        return {"refuse": {"code": "unknown_type", "message": "expected room.say"}}
    return room_say(event)


def room_say(event: Mapping[str, Any]) -> dict[str, Any]:
    """Say to everybody else what the sender has said."""
    data = event["data"]
    if not isinstance(data, dict) or not isinstance(data.get("text"), str) or not data["text"]:
        return {"refuse": {"code": "invalid", "message": "expected a text"}}
    said = {"sender": event.get("clarionuser", "guest"), "text": data["text"]}
    others = {"audience": "all", "type": "room.say", "exclude": event["clarionconnection"]}
    return {"reply": said, "publish": [{**others, "data": said}]}


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raise unless the gateway has sent this body within the last five minutes.

    Args:
        secret: ``whsec_`` and base64.

    Raises:
        KeyError: a header is missing.
        ValueError: the timestamp is no number.
        PermissionError: the signature is wrong, or the request too old or from the future.
    """
    id_, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{id_}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    given = headers["webhook-signature"].split()
    if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in given):
        raise PermissionError("the signature is wrong")
    if abs(time.time() - int(timestamp)) > _TOLERATED_SECONDS:
        raise PermissionError("the request is too old, or from the future")
