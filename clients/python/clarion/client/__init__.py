"""Follows events: reconnects and resumes by itself, and says when something may be missing.

    from clarion.client import Client, Event, Refresh

    async with Client("https://events.example.com", get_token=token, topics=["order.42"]) as client:
        async for item in client:
            match item:
                case Event(type="order.updated"):
                    show(item.data)
                case Refresh():
                    load_orders()

It behaves like the JavaScript client: the same states, and the same table of what to do after each
end of a connection. See docs/protocol.md.
"""

from clarion.client.client import Client
from clarion.client.errors import ClosedError, NoAnswerError, RefusalError, Stop
from clarion.client.items import Event, Message, Past, Refresh
from clarion.client.status import Closed, Connecting, Open, Status
from clarion.client.tokens import Token, TokenContext

__all__ = [
    "Client",
    "Closed",
    "ClosedError",
    "Connecting",
    "Event",
    "Message",
    "NoAnswerError",
    "Open",
    "Past",
    "Refresh",
    "RefusalError",
    "Status",
    "Stop",
    "Token",
    "TokenContext",
]
