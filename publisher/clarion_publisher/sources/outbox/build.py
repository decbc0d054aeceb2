"""Builds the outbox's source from the settings. It imports the driver, which is an extra."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from clarion_contract.service.settings import InvalidSettings
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.outbox.database import Limits, conninfo_of
from clarion_publisher.sources.outbox.metrics import OutboxMetrics
from clarion_publisher.sources.outbox.source import OutboxSource, Pace


def outbox_source(settings: PublisherSettings, registry: CollectorRegistry) -> OutboxSource:
    """The source that reads the outbox of these settings.

    Raises:
        InvalidSettings: libpq does not understand the URL.
    """
    try:
        conninfo = conninfo_of(settings.outbox_address or "")
    except ValueError as error:
        raise InvalidSettings([f"PUBLISHER_OUTBOX_URL: {error}"]) from None
    return OutboxSource(
        conninfo,
        Limits(settings.outbox_batch_rows, settings.data_max_bytes),
        Pace(settings.outbox_poll_seconds, settings.outbox_keep_refused_seconds),
        OutboxMetrics(registry),
        clustered=settings.keyspace.clustered,
    )
