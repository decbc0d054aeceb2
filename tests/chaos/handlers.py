"""The handlers that gateways mount: the reply goes to an audience, as in a chat."""

from __future__ import annotations

from typing import Any

from clarion import ALL, AUTHENTICATED, Audience, Context, Handlers, Reply, propagate

MOUNTED = f"{__name__}:handlers"
TYPES = {"said.to.all": "all", "said.to.authenticated": "authenticated"}

handlers = Handlers()


def _audience(context: Context, _: Reply) -> Audience:
    return ALL if TYPES[context.type] == "all" else AUTHENTICATED


async def _say(message: dict[str, Any], context: Context) -> dict[str, Any]:
    return message


for _type in TYPES:
    handlers.on(_type, propagate(_audience))(_say)
