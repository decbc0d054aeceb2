"""Publishes events: with retries, and each event once.

    from clarion import user
    from clarion.publisher import Publisher, ServiceToken

    token = ServiceToken(secret, "shop", scopes=["publish:user"])
    with Publisher("http://publisher:8080", token=token) as publisher:
        publisher.publish(user("alice"), "order.updated", {"id": 42, "state": "sent"})

`Publisher` is for threads, `AsyncPublisher` for asyncio; they have the same methods. Keep one for
the life of the process. See docs/publishing.md.
"""

from clarion.publisher.asynchronous import AsyncPublisher
from clarion.publisher.batches import Bounds
from clarion.publisher.events import NewEvent, Receipt
from clarion.publisher.problems import (
    InsufficientScope,
    InvalidEvent,
    InvalidToken,
    KeyReused,
    NotAPublisher,
    Problem,
    PublishError,
    TooLarge,
    Unavailable,
)
from clarion.publisher.synchronous import Publisher
from clarion.publisher.texts import Text
from clarion.publisher.tokens import ServiceToken

__all__ = [
    "AsyncPublisher",
    "Bounds",
    "InsufficientScope",
    "InvalidEvent",
    "InvalidToken",
    "KeyReused",
    "NewEvent",
    "NotAPublisher",
    "Problem",
    "PublishError",
    "Publisher",
    "Receipt",
    "ServiceToken",
    "Text",
    "TooLarge",
    "Unavailable",
]
