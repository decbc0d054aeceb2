"""Builds the source of Socket.IO's producers from the settings."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from prometheus_client import CollectorRegistry

from clarion_contract.bus.bus import redis_from_url
from clarion_contract.bus.orders import Orders
from clarion_contract.redis.url import parse_redis_url
from clarion_publisher.ingestion.authorise import CHANGE_TOPICS, DISCONNECT_USERS, SCOPES
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.socketio.channels import Channels, Names
from clarion_publisher.sources.socketio.intake import Intake
from clarion_publisher.sources.socketio.metrics import SocketIoMetrics
from clarion_publisher.sources.socketio.source import SocketIoSource
from clarion_publisher.sources.socketio.stream import Bounds, Lease
from clarion_publisher.sources.socketio.translation import Translation

# A message has a head beside its data, such as rooms. Base64 makes data a third longer.
_HEAD_BYTES: Final = 64 << 10
_BATCH_EVENTS: Final = 500
_OFF: Final = "off"


def socketio_source(
    settings: PublisherSettings, url: str, orders: Orders, registry: CollectorRegistry
) -> SocketIoSource:
    """The source that reads the producers' Redis.

    Args:
        url: of that Redis.
    """
    redis = redis_from_url(url)
    metrics = SocketIoMetrics(registry)
    stopping = asyncio.Event()
    batch_events = min(_BATCH_EVENTS, settings.batch_max_events)
    stream, names = names_of(settings)
    lease = Lease(redis, stream, settings.namespace, Bounds(batch_events, names.message_bytes))
    hears = names.key or names.channel
    return SocketIoSource(
        redis,
        lease,
        Channels(parse_redis_url(url), redis, names, lease) if hears else None,
        Intake(
            orders,
            Translation(settings.socketio_user_rooms),
            settings.socketio_scopes or (*SCOPES.values(), CHANGE_TOPICS, DISCONNECT_USERS),
            metrics,
            stopping,
            batch_events=batch_events,
        ),
        metrics,
        stopping,
        poll_seconds=None if settings.socketio_stream == _OFF else settings.socketio_poll_seconds,
    )


def names_of(settings: PublisherSettings) -> tuple[str, Names]:
    """The stream that is read, and the channels that are heard.

    A stream that is not read still names the lease: its usual name.
    """
    stream, key, channel = (
        None if name == _OFF else name
        for name in (settings.socketio_stream, settings.socketio_key, settings.socketio_channel)
    )
    probe = f"{settings.namespace}:socketio:probe:{secrets.token_urlsafe(9)}"
    message_bytes = settings.data_max_bytes * 3 // 2 + _HEAD_BYTES
    return stream or "socket.io", Names(key, channel, probe, message_bytes)
