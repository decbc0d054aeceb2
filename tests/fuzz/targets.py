"""The table of what is fuzzed."""

from __future__ import annotations

from tests.fuzz import documents, gateway, publisher
from tests.fuzz.target import Target

TARGETS = {
    target.name: target
    for target in (
        Target("heads", gateway.parse_head),
        Target("frames", gateway.parse_frames),
        Target("messages", gateway.parse_message),
        Target("requests", publisher.parse_request),
        Target("bodies", publisher.parse_bodies),
        Target("cloudevents", publisher.parse_cloudevents),
        Target("tokens", documents.parse_token),
        Target("keys", documents.parse_keys),
        Target("bus", documents.parse_bus_message),
        Target("orders", documents.parse_orders),
        Target("urls", documents.parse_url),
        Target("settings", documents.parse_settings),
    )
}
